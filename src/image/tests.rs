//! What an image holds after a fill, and what an export leaves on disk.
