"""Training: the training loop, the relation and tagger tasks, and few-shot learning.

May import everything but ``rukh.cli``. Start from ``relation_task.train_relations``,
``tagger_task.train_tagger`` and ``few_shot.adapt``.
"""
