"""Work that need not wait, under ``/v1/``: what the router passes through to this process."""

from django.urls import URLPattern, URLResolver, path, re_path

from marketplace.inference.views import UnknownJobPathView
from marketplace.predictions import views as predictions

urlpatterns: list[URLPattern | URLResolver] = [
    path("predictions", predictions.PredictionsView.as_view()),
    path("predictions/<str:prediction_id>", predictions.PredictionView.as_view()),
    path("predictions/<str:prediction_id>/cancel", predictions.PredictionCancelView.as_view()),
    path("predictions/<str:prediction_id>/stream", predictions.PredictionStreamView.as_view()),
    re_path("", UnknownJobPathView.as_view()),
]
