"""The form of a policy: shares in per cent, a weight for each deployment."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from marketplace.catalog.models import Deployment
from marketplace.routing.models import WEIGHT_MAX, WEIGHT_MIN, Policy, PolicyKind
from marketplace.routing.services import PolicyWeights
from marketplace.routing.trials.models import Aim
from marketplace.tuning.editor.services import CANARY_SHARE_MAX, CANARY_SHARE_MIN

USD_WEIGHT_MAX_S = 1e9


class PolicyForm(forms.Form):
    kind = forms.ChoiceField(choices=PolicyKind.choices, label=_("Kind"))
    wait_weight = forms.FloatField(min_value=0.1, max_value=100.0, label=_("Wait weight"))
    usd_weight_s = forms.FloatField(
        min_value=0.0, max_value=USD_WEIGHT_MAX_S, label=_("Seconds of latency per dollar")
    )
    hedge_percent = forms.FloatField(
        min_value=0.0, max_value=20.0, label=_("Share that may be hedged, %")
    )
    shared = forms.BooleanField(required=False, label=_("Placed by every router"))
    note = forms.CharField(max_length=200, required=False, label=_("Note"))
    expected_version = forms.IntegerField(min_value=0, widget=forms.HiddenInput)
    canary_percent = forms.FloatField(
        min_value=100 * CANARY_SHARE_MIN,
        max_value=100 * CANARY_SHARE_MAX,
        label=_("Share of the calls of a trial, %"),
    )
    aim = forms.ChoiceField(choices=Aim.choices, label=_("Goal"))

    def __init__(self, deployments: Sequence[Deployment], *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self._deployments = {weight_field(row.pk): row for row in deployments}
        for name, row in self._deployments.items():
            self.fields[name] = forms.FloatField(
                min_value=WEIGHT_MIN,
                max_value=WEIGHT_MAX,
                label=f"{row.provider.slug} · {row.pool.name}",
            )

    @classmethod
    def of(
        cls, policy: Policy, deployments: Sequence[Deployment], *, version: int, share: float
    ) -> "PolicyForm":
        """The form filled from ``policy``, to supersede version ``version``."""
        initial = {
            "kind": policy.kind,
            "wait_weight": policy.wait_weight,
            "usd_weight_s": policy.usd_weight_s,
            "hedge_percent": round(100 * policy.hedge_share, 6),
            "shared": policy.shared,
            "expected_version": version,
            "canary_percent": round(100 * share, 6),
            "aim": Aim.LATENCY,
        }
        for row in deployments:
            initial[weight_field(row.pk)] = policy.weights.get(str(row.pk), 1.0)
        return cls(deployments, initial=initial)

    @property
    def weight_rows(self) -> list[tuple[Deployment, forms.BoundField]]:
        """Each deployment with the field of its weight."""
        return [(row, self[name]) for name, row in self._deployments.items()]

    def weights_over(self, before: Mapping[str, float]) -> PolicyWeights:
        """The weights of a valid form. Deployments not shown keep theirs; weights of 1 go."""
        cleaned = self.cleaned_data
        shown = {str(row.pk): cleaned[name] for name, row in self._deployments.items()}
        weights = {key: value for key, value in {**before, **shown}.items() if value != 1.0}
        return PolicyWeights(
            wait_weight=cleaned["wait_weight"],
            usd_weight_s=cleaned["usd_weight_s"],
            hedge_share=round(cleaned["hedge_percent"] / 100, 9),
            shared=cleaned["shared"],
            weights=weights,
        )


def weight_field(deployment_id: int) -> str:
    """The name of a deployment's weight field."""
    return f"weight_{deployment_id}"
