"""Card fraud: which payments are not the customer's own."""
