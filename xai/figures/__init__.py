"""Drawing: arrays in; figures, PNG or JPEG bytes or uint8 pictures out; nothing is computed or saved."""
