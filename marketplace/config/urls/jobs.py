"""Work that need not wait, under ``/v1/``: what the router passes through to this process."""

from django.urls import URLPattern, URLResolver, path, re_path

from marketplace.batches import api as batches
from marketplace.inference.views import UnknownJobPathView
from marketplace.pipelines.api import PipelinesView
from marketplace.predictions import api as predictions

urlpatterns: list[URLPattern | URLResolver] = [
    path("files", batches.FilesView.as_view()),
    path("files/<str:public_id>", batches.FileView.as_view()),
    path("files/<str:public_id>/content", batches.FileContentView.as_view()),
    path("batches", batches.BatchesView.as_view()),
    path("batches/<str:public_id>", batches.BatchView.as_view()),
    path("batches/<str:public_id>/cancel", batches.BatchCancelView.as_view()),
    path("pipelines", PipelinesView.as_view()),
    path("predictions", predictions.PredictionsView.as_view()),
    path("predictions/<str:prediction_id>", predictions.PredictionView.as_view()),
    path("predictions/<str:prediction_id>/cancel", predictions.PredictionCancelView.as_view()),
    path("predictions/<str:prediction_id>/stream", predictions.PredictionStreamView.as_view()),
    re_path("", UnknownJobPathView.as_view()),
]
