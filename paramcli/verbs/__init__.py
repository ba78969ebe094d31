"""The five verbs: functions of checkpoints that return frozen reports and print nothing."""
