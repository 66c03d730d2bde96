"""Any client, any model: requests are carried to the model that they name, loaded when asked."""
