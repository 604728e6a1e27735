"""Takes HateSonar's classifier out of its wheel, as any machine can load it."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from workers.backends.weights import packaged_file

PROBABILITIES = "probabilities"
"""The classifier's tensor of three probabilities, which its own answer has as a list of maps."""


def write_hatesonar(path: Path) -> None:
    """Write the model: with a locale that every machine has, and answering by a tensor."""
    model = onnx.load(packaged_file("hatesonar", "model.onnx"))
    graph = model.graph
    for node in graph.node:
        if node.op_type == "StringNormalizer":
            # By default en_US.UTF-8, which slim images lack. Only ASCII is put in small letters.
            node.attribute.append(helper.make_attribute("locale", "C"))
    kept = [node for node in graph.node if node.op_type != "ZipMap"]
    del graph.node[:], graph.output[:]
    graph.node.extend(kept)
    graph.output.append(helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, [None, 3]))
    onnx.save(model, path)
