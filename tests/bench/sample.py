"""The service that weir replaces: FastAPI around transformers' pipeline, as people write it.

    MODEL_ID=models/tiny-sst2 python -m uvicorn --app-dir tests/bench sample:app --port 8081
"""
import os

from fastapi import FastAPI
from transformers import pipeline

app = FastAPI()
classifier = pipeline("text-classification", model=os.environ["MODEL_ID"],
                      device=int(os.environ.get("SAMPLE_DEVICE", "-1")))


@app.post("/predict")
async def predict(data: dict):
    return {"prediction": classifier(data["text"])}
