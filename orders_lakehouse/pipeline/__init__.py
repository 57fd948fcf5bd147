"""What happens to a date: captured, derived, accounted for, asked for again. No Dagster declaration is here."""
