"""Frames and arrays, never tensors: from raw rows to a panel, and to what a model sees of it.

Doors, and what stands behind each:
    validate     raw frame -> Panel          columns, zones, regular, frequency, static, words
    parquet      Parquet folder -> Panel     stored (memory maps), blocks
    repairs      raw frame -> Panel + log    repair_step, repair_rows, repair_values, repair; outlying, robust
    features     clock, files -> columns     feature, clock_features, days, holidays, events, past_features
    transforms   Panel <-> Panel             invertible, filling, scaling, power, bounded, deseasonalise
    windows      Panel -> windows            splits (by time)
    seasonality  Panel -> its seasons        grouped (statistics by series, for all of them)
    calendar     a frequency -> its clock
"""
