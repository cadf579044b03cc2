"""MySQL rows as Avro and back: types, schemas, encoding, decoding, container files."""
