"""The architectures minigte knows, by the ``model_type`` of their ``config.json``."""

from minigte.models import bert, distilbert, mpnet, roberta
from minigte.models.architecture import Architecture

ARCHITECTURES: dict[str, Architecture] = {
    "bert": bert.ARCHITECTURE,
    "distilbert": distilbert.ARCHITECTURE,
    "mpnet": mpnet.ARCHITECTURE,
    "roberta": roberta.ARCHITECTURE,
    "xlm-roberta": roberta.ARCHITECTURE,
}
