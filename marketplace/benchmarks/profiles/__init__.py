"""From LoadGen's samples to what is known of a deployment's speed."""
