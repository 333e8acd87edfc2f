from ._commands import Evaluation as Evaluation, check as check, compare as compare, devices as devices, evaluate as evaluate, methods as methods, metrics as metrics, verify as verify
from ._errors import Cancelled as Cancelled, ClassError as ClassError, DeviceError as DeviceError, Error as Error, InputError as InputError, LayerError as LayerError, LimitError as LimitError, MethodError as MethodError, ModelError as ModelError, OutputError as OutputError, SettingsError as SettingsError, UnsupportedModelError as UnsupportedModelError, UsageError as UsageError
from ._explanation import Explanation as Explanation, Explanations as Explanations, Map as Map, Prediction as Prediction
from ._export import from_keras as from_keras, from_torch as from_torch
from ._model import Layer as Layer, Model as Model

__version__: str
numerics: int
