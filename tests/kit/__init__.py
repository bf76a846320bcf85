"""What tests share: loops, wires, origins, programs; no mocks."""
