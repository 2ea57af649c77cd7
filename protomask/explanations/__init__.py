"""Pictures of prototypes, explanations of predictions by them, and what can be said against a prototype."""
