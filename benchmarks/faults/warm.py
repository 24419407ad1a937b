"What a server imports before it forks; nothing is computed yet."
import tensorboard.backend.event_processing.event_file_loader  # noqa: F401

import s8lib.actions  # noqa: F401
