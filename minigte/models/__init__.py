"""The architectures minigte knows, by the ``model_type`` of their ``config.json``."""

from minigte.models import bert, bloom, distilbert, modernbert, mpnet, roberta, t5
from minigte.models.architecture import Architecture

ARCHITECTURES: dict[str, Architecture] = {
    "bert": bert.ARCHITECTURE,
    "bloom": bloom.ARCHITECTURE,
    "distilbert": distilbert.ARCHITECTURE,
    "modernbert": modernbert.ARCHITECTURE,
    "mpnet": mpnet.ARCHITECTURE,
    "roberta": roberta.ARCHITECTURE,
    "t5": t5.ARCHITECTURE,
    "xlm-roberta": roberta.ARCHITECTURE,
}
