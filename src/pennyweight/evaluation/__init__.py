"""From predictions to statements one may rely on."""
