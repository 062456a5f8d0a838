"""NNNN.sql brings a store from version NNNN - 1 to NNNN. One that was released never changes."""
