"""The HTTP face of tsforecast: it translates requests and answers, and decides nothing about forecasting."""
