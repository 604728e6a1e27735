"""What placing could reach, by those who know what no gateway can."""
