"""An answer's codes in words, for pages."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _

EVIDENCE = {
    "measured": _("measured here"),
    "given": _("given by the provider"),
    "emulated": _("emulated"),
    "published": _("published, not measured here"),
}
BINDING = {
    "slo": _("the SLO: with more time it would be cheaper"),
    "utilisation": _("how busy instances may be"),
    "choice": _("the hardware, regions and sources that are allowed"),
    "spare": _("the spare instance"),
    "peak": _("the peak"),
    "budget": _("the budget"),
    "rate": _("the rate alone"),
}
LEFT_OUT = {
    "published": _("published figures are not to be used"),
    "kind": _("this kind of hardware is not allowed"),
    "region": _("its region is not allowed"),
    "price": _("no price is known"),
    "memory": _("the model, or one call, does not fit into its memory"),
}
PILOT = {
    "given": _("its figures come from the provider"),
    "emulated": _("its figures are emulated: they come from no real hardware"),
    "published": _("its figures were published by others, at one load, and not measured here"),
    "stale": _("its measurement is older than 30 days"),
    "samples": _("too few samples were measured"),
    "mix": _("the sizes behind its figures are assumed, not measured"),
}
ASSUMPTIONS = {
    "poisson": _("Calls come at random (Poisson), at the peak rate."),
    "lognormal": _("Sizes are lognormal around the mean, with the spread given."),
    "lognormal_answers": _(
        "Answers' lengths are lognormal around the mean, with the spread given. All prompts have "
        "the mean length, and none is cached."
    ),
    "end_to_end": _("The SLO is for the whole answer, up to its last token."),
    "prompt_share": _(
        "Where the sizes of a profile, measured or assumed, are not yours, a prompt token counts "
        "as a hundredth of a completion token."
    ),
    "roofline": _(
        "Emulated figures are a roofline over published peaks: communication between chips is left "
        "out, and memory counts for LLM engines alone."
    ),
    "one_point": _(
        "Only one load is known for a published system: it is assumed to be as slow at any other."
    ),
    "engines_as_slots": _(
        "Not all of these machines are known as LLM engines, so all are emulated with slots."
    ),
    "cache_unknown": _(
        "The size of some KV caches is not known: they are taken to have room for every call."
    ),
    "mix": _("The sizes behind some figures are not known: they are assumed to be yours."),
    "mix_typical": _(
        "The sizes behind some figures are not known: they are assumed to be 64 prompt and 64 "
        "completion tokens."
    ),
}
COMPARED = {
    "advised": _("Recommended"),
    "gpu": _("Best with GPUs alone"),
    "tpu": _("Best with TPUs alone"),
    "cpu": _("Best with CPUs alone"),
    "now": _("What is in service now"),
}
WORKER_MODEL = {
    "engines": _(
        "Batching and the KV cache are counted: calls on one machine slow each other, prompts hold "
        "up answers, and only as many calls run as its memory has room for."
    ),
    "slots": _(
        "Each machine is counted as slots: a call has one to itself, and others slow it only as "
        "was measured. Batching and the KV cache of LLM engines are not counted."
    ),
}
CONFIDENCE = {"high": _("high"), "medium": _("medium"), "low": _("low")}
VERDICT = {
    "meets": _("meets the SLO"),
    "misses": _("misses the SLO"),
    "borderline": _("too close to call"),
    "none": _("no fleet can"),
}
STEPS = {"rate": _("Calls per second"), "slo": _("SLO"), "price": _("Price an hour")}

WORDS: Mapping[str, Mapping[str, Any]] = {
    "evidence": EVIDENCE,
    "binding": BINDING,
    "left_out": LEFT_OUT,
    "pilot": PILOT,
    "assumption": ASSUMPTIONS,
    "compared": COMPARED,
    "confidence": CONFIDENCE,
    "worker_model": WORKER_MODEL,
    "verdict": VERDICT,
    "step": STEPS,
}
