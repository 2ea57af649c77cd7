"""Where a plain classifier looks: one picture at a time (look), or folders of them (folder)."""
