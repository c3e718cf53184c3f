DROP TABLE checkpoints;
DROP TABLE rate_limits;
DROP TABLE budget_alerts;
DROP TABLE budget_exemptions;
DROP TABLE budgets;
