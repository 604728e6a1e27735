"""What fleets can be made of: profiles in the database, published results and the emulator."""
