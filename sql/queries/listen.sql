LISTEN moonwake
