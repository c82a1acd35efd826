"""Cluster pictures without labels (SCAN, Van Gansbeke et al. 2020), written from the paper's equations.

A pretext task makes two views of a picture alike (`pretext`), its features give every picture its nearest
neighbours (`neighbours`), heads learn to put neighbours into one cluster (`heads`, `finetune`), and confident pictures
may teach the rest (`selflabel`). `runner` does it in a folder, `run` opens what came out.
"""
