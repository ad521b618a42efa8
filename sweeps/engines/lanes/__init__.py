"""The lanes engine: trials that share a model train together, as lanes of one program.

stack.py     K models as one: weights [K, P], one forward and one backward for all lanes
fusing.py    whether a model can be stacked, found by trying it
batches.py   each lane's own batches, side by side
pace.py      learning rate, momentum and average of each lane at each step
group.py     a cohort: lanes that share model, data and batch size; an epoch at a time
engine.py    takes trials, gives them lanes, reports epochs
"""
