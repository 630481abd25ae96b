"""What a lesson shows: `predict` before a measurement, `plots` of it. No part of the course's code imports it."""
