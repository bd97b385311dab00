"""One GPU's page, or one node's."""
