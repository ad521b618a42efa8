-- MLflow's own database: its tables and Optuna's would meet in one (both have `alembic_version`).
CREATE DATABASE mlflow;
