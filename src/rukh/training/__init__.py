"""Training: the loop, the tasks for relation models and taggers, and learning from few examples.

May import everything but ``rukh.cli``. Start from ``relation_task.train_relations``,
``tagger_task.train_tagger`` and ``few_shot.adapt``.
"""
