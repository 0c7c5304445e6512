"""What computes on a GPU: the only room where torch and triton may be imported."""
