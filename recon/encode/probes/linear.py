"""Linear probe: logistic regression on pooled features, its strength of regularisation chosen across persons."""

import warnings

import numpy as np
from numpy.typing import NDArray

from recon.encode.probes.prediction import Prediction, softmax
from recon.encode.probes.store import Embeddings

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # inverse regularisation, scikit-learn's C


def fit(embeddings: Embeddings, labels: NDArray[np.int64], classes: int, seed: int) -> dict[str, NDArray[np.float32]]:
    """Weights of the probe. ``labels`` [volume] are 0 to ``classes`` - 1.

    C is the one of least log loss in up to five folds that share no person.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean = embeddings.pooled.mean(axis=0)
    deviation = embeddings.pooled.std(axis=0) + 1e-6
    features = (embeddings.pooled - mean) / deviation
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        strength = _choose(features, labels, embeddings.subjects, classes)
        model = LogisticRegression(C=strength, max_iter=2000).fit(features, labels)
    weight, bias = model.coef_, model.intercept_
    if classes == 2:  # scikit-learn keeps one row for two classes
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    found = {"mean": mean, "deviation": deviation, "weight": weight, "bias": bias, "strength": np.array([strength])}
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def predict(tensors: dict[str, NDArray[np.float32]], embeddings: Embeddings) -> Prediction:
    """Probabilities and their uncertainty, 1 minus the largest probability."""
    features = (embeddings.pooled - tensors["mean"]) / tensors["deviation"]
    probabilities = softmax(features.astype(np.float64) @ tensors["weight"].T + tensors["bias"])
    return Prediction(probabilities, 1 - probabilities.max(axis=1))


def _choose(features: NDArray[np.float32], labels: NDArray[np.int64], persons: tuple[str, ...], classes: int) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedGroupKFold

    folds = min(5, len(set(persons)), int(np.bincount(labels, minlength=classes).max()))
    losses = np.zeros(len(STRENGTHS))
    counted = 0
    splitter = StratifiedGroupKFold(folds) if folds >= 2 else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class with fewer members than folds; checked below
        pairs = [] if splitter is None else list(splitter.split(features, labels, persons))
    for fitted, judged in pairs:
        if len(np.unique(labels[fitted])) < classes:
            continue
        counted += 1
        for index, strength in enumerate(STRENGTHS):
            model = LogisticRegression(C=strength, max_iter=2000).fit(features[fitted], labels[fitted])
            losses[index] += log_loss(labels[judged], model.predict_proba(features[judged]), labels=range(classes))
    return STRENGTHS[int(np.argmin(losses))] if counted else 1e-1
