"""Sort messages into groups that nobody has named, and name each group: cluster.py FILE GROUPS."""

import sys
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import CountVectorizer

from minigte import Embedder

file, groups = Path(sys.argv[1]), int(sys.argv[2])
texts = [line.split("\t")[1] for line in file.read_text(encoding="utf-8").splitlines()]

vectors = Embedder("thenlper/gte-small").encode(texts)  # (B, D)
kmeans = KMeans(groups, n_init=10, random_state=0).fit(vectors)

# A group's name: the words that most of its texts have and few texts of other groups.
words = CountVectorizer(stop_words="english", binary=True)
counts = words.fit_transform(texts).toarray()  # (B, words)
names = words.get_feature_names_out()
for group in range(groups):
    inside = kmeans.labels_ == group
    characteristic = counts[inside].mean(axis=0) - counts[~inside].mean(axis=0)
    best = [names[i] for i in np.argsort(-characteristic, kind="stable")[:4]]
    typical = np.argsort(-(vectors @ kmeans.cluster_centers_[group]) - 10.0 * inside)[:3]
    print(f"{', '.join(best)} ({inside.sum()} texts)")
    for i in typical:
        print(f"    {texts[i]}")
