"""An answer's codes in words, for pages."""

from __future__ import annotations

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
}
PILOT = {
    "given": _("its figures come from the provider"),
    "emulated": _("its figures are emulated: they come from no real hardware"),
    "published": _("its figures were published by others, at one load, and not measured here"),
    "stale": _("its measurement is older than 30 days"),
    "samples": _("too few samples were measured"),
    "mix": _("the sizes it was measured with are not known"),
}
ASSUMPTIONS = {
    "poisson": _("Calls come at random (Poisson), at the peak rate."),
    "lognormal": _("Sizes are lognormal around the mean, with the spread given."),
    "end_to_end": _("The SLO is for the whole answer, up to its last token."),
    "prompt_share": _(
        "Where a profile was measured with other sizes, a prompt token counts as a "
        "hundredth of a completion token."
    ),
    "roofline": _(
        "Emulated figures are a roofline over published peaks: memory size and communication "
        "between chips are left out."
    ),
    "one_point": _(
        "Only one load is known for a published system: it is assumed to be as slow at any other."
    ),
    "mix": _("The sizes behind some figures are unknown and assumed to be yours."),
}
COMPARED = {
    "advised": _("Recommended"),
    "gpu": _("Best with GPUs alone"),
    "tpu": _("Best with TPUs alone"),
    "cpu": _("Best with CPUs alone"),
    "now": _("What is in service now"),
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
    "verdict": VERDICT,
    "step": STEPS,
}
