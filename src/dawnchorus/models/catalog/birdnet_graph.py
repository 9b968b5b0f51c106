"""Conversion of BirdNET V2.4 from TFLite to a fast ONNX graph.

The original computes two spectrogram branches with an FFT, of which it uses only the real part. Framing, window, FFT,
real part and mel bands are then one linear map, so each branch becomes a strided 1-D convolution, and the branch with
the long kernel is factored further (`_low_rank_branch`). The backbone is converted operator by operator, from NHWC to
NCHW. All constants are read from the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tflite

from dawnchorus.arrays import FloatArray
from dawnchorus.errors import ModelError
from dawnchorus.models.graphs.onnx_writer import OnnxWriter
from dawnchorus.models.graphs.tflite_file import Operator, TfliteFile

LOW_RANK_TOLERANCE = 1e-5
"""Maximum relative error (Frobenius norm) of a branch's kernel by factoring."""


BLOCK_CHANNELS = 16
"""Block size, in channels, that onnxruntime uses with AVX-512; a multiple of its block sizes on other processors."""

_KNOW_FILLED = frozenset(("CONV_2D", "MAX_POOL_2D", "AVERAGE_POOL_2D", "CONCATENATION"))


def _spread(values: FloatArray, positions: npt.NDArray[np.int64], n: int, *, axis: int) -> FloatArray:
    """Return `values` at `positions` along `axis`, which has the length `n`; zeros elsewhere."""
    shape = list(values.shape)
    shape[axis] = n
    spread = np.zeros(shape, values.dtype)
    index: list[slice | npt.NDArray[np.int64]] = [slice(None)] * values.ndim
    index[axis] = positions
    spread[tuple(index)] = values
    return spread


@dataclass(frozen=True)
class _Branch:
    """One spectrogram branch as a strided convolution: kernel [bands, taps], hop in samples."""

    kernel: npt.NDArray[np.float64]
    hop: int
    exponent: float
    output: int


@dataclass(frozen=True)
class _ScaledWaveform:
    """Names of three tensors of which the scaled waveform is `gain * varying + constant`."""

    varying: str
    gain: str
    constant: str


@dataclass(frozen=True)
class _Channels:
    """Channels of a tensor, `n` in all: the model's are at the indices `real`, the others are zero padding."""

    real: npt.NDArray[np.int64]
    n: int


@dataclass(frozen=True)
class _Tensor:
    """A computed tensor of the ONNX graph: its name, height and width; `channels` if zero channels were added."""

    name: str
    size: tuple[int, int]
    channels: _Channels | None = None


def convert_birdnet(source: Path, out_path: Path) -> None:
    """Convert the TFLite file of BirdNET V2.4 at `source` to ONNX, and write the graph to `out_path`.

    The graph has the input `waveform` float32 [batch, samples], and the outputs `logits` [batch, classes] and
    `embeddings` [batch, dim].

    Raises:
        ModelError: the file is not TFLite, or has an operator or a structure that the converter does not know.
    """
    _Converter(TfliteFile(source)).write(out_path)


class _Converter:
    def __init__(self, model: TfliteFile) -> None:
        self._model = model
        self._onnx = OnnxWriter()
        self._tensors: dict[int, _Tensor] = {}
        """Tensors computed so far, by their index in the TFLite graph."""
        self._n_samples = model.shape(model.inputs[0])[1]
        self._handlers: dict[str, Callable[[Operator], _Tensor]] = {
            "CONV_2D": self._convolve,
            "DEPTHWISE_CONV_2D": self._convolve_depthwise,
            "AVERAGE_POOL_2D": self._pool,
            "MAX_POOL_2D": self._pool,
            "CONCATENATION": self._concatenate,
            "LOGISTIC": self._logistic,
            "MUL": self._combine,
            "ADD": self._combine,
            "PAD": self._pad,
            "MEAN": self._mean,
            "RESHAPE": self._reshape,
            "FULLY_CONNECTED": self._connect,
        }

    def write(self, out_path: Path) -> None:
        model = self._model
        branches, last = self.read_branches()
        self._join_branches(self._scale(), branches, last)
        for operator in model.operators[model.position(last) + 1 :]:
            if not all(model.is_integer(tensor) for tensor in operator.outputs):
                self._carry_over(operator)
        head = model.producer(model.outputs[0])
        embeddings = self._tensors[head.inputs[0]].name
        n_classes, n_dim = model.shape(head.inputs[1])
        self._onnx.node("Identity", [self._tensors[model.outputs[0]].name], output="logits")
        self._onnx.node("Flatten", [embeddings], output="embeddings", axis=1)
        self._onnx.save(
            out_path,
            inputs={"waveform": ("batch", self._n_samples)},
            outputs={"logits": ("batch", n_classes), "embeddings": ("batch", n_dim)},
        )

    # ------------------------------------------------------------------ front end

    def read_branches(self) -> tuple[list[_Branch], Operator]:
        """Return the two spectrogram branches, and the last operator that they replace.

        This operator multiplies each of the joined branches by a positive number; the kernels include these factors.
        """
        model = self._model
        branches = [self._read_branch(operator) for operator in model.operators if operator.name == "RFFT2D"]
        if len(branches) != 2 or branches[0].output != branches[1].output:
            raise ModelError(
                f"expected the two spectrogram branches of BirdNET V2.4, "
                f"found {len(branches)}. This converter knows that model only.",
                subject=model.path,
            )
        joined = branches[0].output
        last = self._follow(joined, "MUL")
        factors = self._read_constant(next(tensor for tensor in last.inputs if tensor != joined)).reshape(-1)
        if joined not in last.inputs or factors.shape != (len(branches),) or not (factors > 0).all():
            raise ModelError(
                "expected the joined branches to be multiplied by positive numbers. "
                "This converter knows BirdNET V2.4 only.",
                subject=model.path,
            )
        scaled = [
            replace(branch, kernel=branch.kernel * float(factor) ** (0.5 / branch.exponent))
            for branch, factor in zip(branches, factors, strict=True)
        ]
        return scaled, last

    def _scalar(self, tensor: int) -> float:
        values = self._model.constant(tensor)
        if values is None or values.size != 1:
            raise ModelError(
                f"expected tensor {tensor} to be one stored number. This converter knows BirdNET V2.4 only.",
                subject=self._model.path,
            )
        return float(values.reshape(-1)[0])

    def _scale(self) -> _ScaledWaveform:
        """Return the per-window scaling at the graph's start, `((x - low) / (high - low + epsilon) - shift) * scale`.

        The scaled waveform has a large mean. Rounding errors of this mean in single precision would exceed the true
        level of bands that are nearly empty. The convolutions, which are linear, therefore get the waveform without its
        mean; gain and constant are applied to their results, which are also smaller.
        """
        steps = self._model.operators[:7]
        expected = ["REDUCE_MIN", "SUB", "REDUCE_MAX", "ADD", "DIV", "SUB", "MUL"]
        if [step.name for step in steps] != expected:
            raise ModelError(
                f"expected the operators {expected} first, "
                f"found {[step.name for step in steps]}. This converter knows BirdNET V2.4 only.",
                subject=self._model.path,
            )
        onnx = self._onnx
        epsilon, shift, scale = (self._scalar(steps[k].inputs[1]) for k in (3, 5, 6))
        low, high, mean = (
            onnx.node(kind, ["waveform"], axes=[1], keepdims=1) for kind in ("ReduceMin", "ReduceMax", "ReduceMean")
        )
        divisor = onnx.node("Add", [onnx.node("Sub", [high, low]), onnx.constant(epsilon)])
        gain = onnx.node("Div", [onnx.constant(scale), divisor])
        above_low = onnx.node("Mul", [onnx.node("Sub", [mean, low]), gain])
        constant = onnx.node("Sub", [above_low, onnx.constant(shift * scale)])
        varying = onnx.node("Sub", ["waveform", mean])
        axis = onnx.constant([1], dtype=np.int64)
        return _ScaledWaveform(*(onnx.node("Unsqueeze", [name, axis]) for name in (varying, gain, constant)))

    def _follow(self, tensor: int, name: str) -> Operator:
        """Return the first operator of the kind `name` downstream of `tensor`."""
        reached = {tensor}
        for operator in self._model.operators:
            if reached.isdisjoint(operator.inputs):
                continue
            if operator.name == name:
                return operator
            reached.update(t for t in operator.outputs if not self._model.is_integer(t))
        raise ModelError(f"expected the operator {name} after tensor {tensor}.", subject=self._model.path)

    def _trace(self, tensor: int, name: str) -> Operator:
        """Return the nearest operator of the kind `name` upstream of `tensor`."""
        waiting = [tensor]
        while waiting:
            current = waiting.pop(0)
            if current in self._model.inputs or self._model.constant(current) is not None:
                continue
            operator = self._model.producer(current)
            if operator.name == name:
                return operator
            waiting.extend(operator.inputs)
        raise ModelError(f"expected the operator {name} before tensor {tensor}.", subject=self._model.path)

    def _read_branch(self, fft: Operator) -> _Branch:
        """Return one branch, with its frames, window, real FFT and mel bands combined in a kernel."""
        model = self._model
        windowed = self._trace(fft.inputs[0], "MUL")
        window = model.constant(windowed.inputs[1])
        lengths = model.constant(fft.inputs[1])
        bands_op = self._follow(fft.outputs[0], "FULLY_CONNECTED")
        bands = model.constant(bands_op.inputs[1])
        if window is None or lengths is None or bands is None:
            raise ModelError("a spectrogram branch has no stored window or bands.", subject=model.path)
        power = self._follow(bands_op.outputs[0], "POW")
        mirror = self._follow(power.outputs[0], "REVERSE_V2")
        gather = self._trace(windowed.inputs[0], "GATHER")
        hop = int(self._scalar(self._trace(gather.inputs[1], "FLOOR_DIV").inputs[1]))
        n_fft = int(lengths[-1])
        # Real part of the DFT: bin f of a frame x is sum_n x[n] cos(2 pi f n / n_fft).
        phase = np.outer(np.arange(bands.shape[1]), np.arange(n_fft)) % n_fft
        kernel = bands.astype(np.float64) @ np.cos(2 * np.pi * phase / n_fft) * window
        return _Branch(
            kernel=kernel[::-1],
            hop=hop,
            exponent=self._scalar(power.inputs[1]),
            output=self._follow(mirror.outputs[0], "CONCATENATION").outputs[0],
        )

    def _join_branches(self, waveform: _ScaledWaveform, branches: list[_Branch], last: Operator) -> None:
        """Join both branches as the two channels of an image, which replaces the output of the operator `last`."""
        onnx = self._onnx
        images = []
        n_frames = {(self._n_samples - b.kernel.shape[1]) // b.hop + 1 for b in branches}
        if len(n_frames) != 1:
            raise ModelError(
                f"the spectrogram branches do not fit together "
                f"({sorted(n_frames)} frames). This converter knows BirdNET V2.4 only.",
                subject=self._model.path,
            )
        (width,) = n_frames
        for branch in branches:
            of_varying = self._low_rank_branch(waveform.varying, branch, n_frames=width)
            response = onnx.constant(branch.kernel.sum(axis=1)[:, None])
            of_constant = onnx.node("Mul", [waveform.constant, response])
            bands = onnx.node("Add", [onnx.node("Mul", [of_varying, waveform.gain]), of_constant])
            # (x^2)^p as exp(2 p log |x|): runtimes compute exp and log many values at a time.
            logs = onnx.node("Log", [onnx.node("Abs", [bands])])
            raised = onnx.node("Mul", [logs, onnx.constant(2 * branch.exponent)])
            image = onnx.node("Exp", [raised])
            images.append(onnx.node("Unsqueeze", [image, onnx.constant([1], dtype=np.int64)]))
        size = (branches[0].kernel.shape[0], width)
        self._tensors[last.outputs[0]] = _Tensor(onnx.node("Concat", images, axis=1), size)

    def _low_rank_branch(self, waveform: str, branch: _Branch, *, n_frames: int) -> str:
        """Return the name of the branch's convolution, factored if that saves work.

        The kernel [bands, taps] is cut into blocks of one hop: [bands x blocks, hop]. If the bands cover low
        frequencies only, that matrix has a low rank r, and a convolution by r block filters, followed by a weighted sum
        of neighboring blocks, gives the same result with fewer operations.
        """
        onnx = self._onnx
        n_mels, n_taps = branch.kernel.shape
        n_blocks = -(-n_taps // branch.hop)
        padded = np.zeros((n_mels, n_blocks * branch.hop))
        padded[:, :n_taps] = branch.kernel
        matrix = padded.reshape(n_mels * n_blocks, branch.hop)
        left, strengths, right = np.linalg.svd(matrix, full_matrices=False)
        tail = np.sqrt(np.cumsum((strengths**2)[::-1])[::-1] / np.sum(strengths**2))
        rank = int(np.count_nonzero(tail > LOW_RANK_TOLERANCE))
        if rank * (branch.hop + n_mels * n_blocks) >= n_mels * n_taps:
            kernel = onnx.constant(branch.kernel[:, None, :])
            return onnx.node("Conv", [waveform, kernel], strides=[branch.hop])
        missing = (n_frames - 1 + n_blocks) * branch.hop - self._n_samples
        weights = (left[:, :rank] * strengths[:rank]).reshape(n_mels, n_blocks, rank)
        blocks = onnx.node(
            "Conv",
            [waveform, onnx.constant(right[:rank, None, :])],
            strides=[branch.hop],
            pads=[0, max(missing, 0)],
        )
        return onnx.node("Conv", [blocks, onnx.constant(weights.transpose(0, 2, 1))])

    # ------------------------------------------------------------------ backbone

    def _carry_over(self, operator: Operator) -> None:
        handler = self._handlers.get(operator.name)
        if handler is None:
            raise ModelError(
                f"no conversion is known for the operator {operator.name} "
                f"(position {self._model.position(operator)}). This converter knows BirdNET V2.4 only.",
                subject=self._model.path,
            )
        if operator.name not in _KNOW_FILLED and any(each.channels is not None for each in self._inputs(operator)):
            raise ModelError(
                f"{operator.name} after pooling. This converter knows BirdNET V2.4 only.", subject=self._model.path
            )
        self._tensors[operator.outputs[0]] = handler(operator)

    def _inputs(self, operator: Operator) -> list[_Tensor]:
        """Return the operator's inputs that are computed, as opposed to constants."""
        return [self._tensors[tensor] for tensor in operator.inputs if tensor in self._tensors]

    def _read_constant(self, tensor: int) -> FloatArray:
        values = self._model.constant(tensor)
        if values is None:
            raise ModelError(f"expected tensor {tensor} to be stored.", subject=self._model.path)
        return values

    def _activate(self, name: str, operator: Operator, code: int) -> str:
        """Apply the activation that TFLite fused into `operator`."""
        if code == tflite.ActivationFunctionType.NONE:
            return name
        if code == tflite.ActivationFunctionType.RELU:
            return self._onnx.node("Relu", [name])
        raise ModelError(
            f"{operator.name} has a fused activation (code {code}), which this converter does not know.",
            subject=self._model.path,
        )

    def _convolve(self, operator: Operator) -> _Tensor:
        options = operator.options(tflite.Conv2DOptions)
        kernel = self._read_constant(operator.inputs[1]).transpose(0, 3, 1, 2)
        added = self._tensors[operator.inputs[0]].channels
        if added is not None:
            kernel = _spread(kernel, added.real, added.n, axis=1)
        channels = self._add_channels(operator, len(kernel))
        if channels is not None:
            kernel = _spread(kernel, channels.real, channels.n, axis=0)
        return replace(self._conv_node(operator, options, kernel, groups=1), channels=channels)

    def _add_channels(self, operator: Operator, n: int) -> _Channels | None:
        """Return `n` channels and zero channels up to a multiple of `BLOCK_CHANNELS`, if only pooling reads them.

        onnxruntime pools full blocks of channels as they are; an incomplete block makes it reorder the graph's largest
        tensor.
        """
        readers = [o.name for o in self._model.operators if operator.outputs[0] in o.inputs]
        if not all(name.endswith("_POOL_2D") for name in readers):
            return None
        return _Channels(np.arange(n), -(-n // BLOCK_CHANNELS) * BLOCK_CHANNELS)

    def _convolve_depthwise(self, operator: Operator) -> _Tensor:
        options = operator.options(tflite.DepthwiseConv2DOptions)
        kernel = self._read_constant(operator.inputs[1]).transpose(3, 0, 1, 2)
        return self._conv_node(operator, options, kernel, groups=kernel.shape[0])

    def _conv_node(
        self,
        operator: Operator,
        options: tflite.Conv2DOptions | tflite.DepthwiseConv2DOptions,
        kernel: FloatArray,
        *,
        groups: int,
    ) -> _Tensor:
        if (options.DilationHFactor(), options.DilationWFactor()) != (1, 1):
            raise ModelError("dilated convolutions are not known here.", subject=self._model.path)
        strides = (options.StrideH(), options.StrideW())
        source = self._tensors[operator.inputs[0]]
        is_same = options.Padding() == tflite.Padding.SAME
        pads, size = _pads(source.size, (kernel.shape[2], kernel.shape[3]), strides, same=is_same)
        inputs = [source.name, self._onnx.constant(kernel)]
        bias = self._model.constant(operator.inputs[2])
        if bias is not None:
            inputs.append(self._onnx.constant(_spread(bias, np.arange(len(bias)), len(kernel), axis=0)))
        name = self._onnx.node("Conv", inputs, strides=list(strides), pads=pads, group=groups)
        return _Tensor(self._activate(name, operator, options.FusedActivationFunction()), size)

    def _pool(self, operator: Operator) -> _Tensor:
        options = operator.options(tflite.Pool2DOptions)
        kernel = (options.FilterHeight(), options.FilterWidth())
        strides = (options.StrideH(), options.StrideW())
        source = self._tensors[operator.inputs[0]]
        pads, size = _pads(source.size, kernel, strides, same=options.Padding() == tflite.Padding.SAME)
        kind = "MaxPool" if operator.name == "MAX_POOL_2D" else "AveragePool"
        name = self._onnx.node(kind, [source.name], kernel_shape=list(kernel), strides=list(strides), pads=pads)
        return _Tensor(self._activate(name, operator, options.FusedActivationFunction()), size, source.channels)

    def _largest_size(self, operator: Operator) -> tuple[int, int]:
        return max(each.size for each in self._inputs(operator))

    def _concatenate(self, operator: Operator) -> _Tensor:
        options = operator.options(tflite.ConcatenationOptions)
        if options.Axis() not in (3, -1):
            raise ModelError(f"CONCATENATION along axis {options.Axis()}.", subject=self._model.path)
        inputs = [self._tensors[tensor] for tensor in operator.inputs]
        channels = [each.channels for each in inputs if each.channels is not None]
        if len(channels) not in (0, len(inputs)):
            raise ModelError("CONCATENATION of tensors before and behind pooling.", subject=self._model.path)
        name = self._onnx.node("Concat", [each.name for each in inputs], axis=1)
        return _Tensor(name, self._largest_size(operator), _concatenate_channels(channels) if channels else None)

    def _logistic(self, operator: Operator) -> _Tensor:
        name = self._onnx.node("Sigmoid", [self._tensors[operator.inputs[0]].name])
        return _Tensor(name, self._largest_size(operator))

    def _combine(self, operator: Operator) -> _Tensor:
        kind = tflite.MulOptions if operator.name == "MUL" else tflite.AddOptions
        options = operator.options(kind)
        names = []
        for tensor in operator.inputs:
            stored = self._model.constant(tensor)
            names.append(
                self._tensors[tensor].name if stored is None else self._onnx.constant(stored.reshape(1, -1, 1, 1))
            )
        name = self._onnx.node("Mul" if operator.name == "MUL" else "Add", names)
        name = self._activate(name, operator, options.FusedActivationFunction())
        return _Tensor(name, self._largest_size(operator))

    def _pad(self, operator: Operator) -> _Tensor:
        amounts = self._read_constant(operator.inputs[1])
        (top, bottom), (left, right) = amounts[1].tolist(), amounts[2].tolist()
        source = self._tensors[operator.inputs[0]]
        height, width = source.size
        pads = self._onnx.constant([0, 0, top, left, 0, 0, bottom, right], dtype=np.int64)
        name = self._onnx.node("Pad", [source.name, pads])
        return _Tensor(name, (height + top + bottom, width + left + right))

    def _mean(self, operator: Operator) -> _Tensor:
        axes = self._read_constant(operator.inputs[1]).tolist()
        if axes != [1, 2]:
            raise ModelError(f"MEAN over the axes {axes}, expected [1, 2].", subject=self._model.path)
        return _Tensor(self._onnx.node("GlobalAveragePool", [self._tensors[operator.inputs[0]].name]), (1, 1))

    def _reshape(self, operator: Operator) -> _Tensor:
        """Skip the backbone's only reshape: it restores the axes that MEAN dropped, which the ONNX graph keeps."""
        if self._model.producer(operator.inputs[0]).name != "MEAN":
            raise ModelError("RESHAPE that does not follow MEAN.", subject=self._model.path)
        return self._tensors[operator.inputs[0]]

    def _connect(self, operator: Operator) -> _Tensor:
        options = operator.options(tflite.FullyConnectedOptions)
        flat = self._onnx.node("Flatten", [self._tensors[operator.inputs[0]].name], axis=1)
        weights = self._onnx.constant(self._read_constant(operator.inputs[1]))
        bias = self._onnx.constant(self._read_constant(operator.inputs[2]))
        name = self._onnx.node("Gemm", [flat, weights, bias], transB=1)
        return _Tensor(self._activate(name, operator, options.FusedActivationFunction()), (1, 1))


def _pads(
    size: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int], *, same: bool
) -> tuple[list[int], tuple[int, int]]:
    """Return ONNX padding [top, left, bottom, right], and the output size (height, width)."""
    starts, ends, sizes = [], [], []
    for n, taps, stride in zip(size, kernel, strides, strict=True):
        n_out = -(-n // stride) if same else (n - taps) // stride + 1
        total = max((n_out - 1) * stride + taps - n, 0) if same else 0
        starts.append(total // 2)
        ends.append(total - total // 2)
        sizes.append(n_out)
    return starts + ends, (sizes[0], sizes[1])


def _concatenate_channels(each: list[_Channels]) -> _Channels:
    """Return the channels of concatenated tensors."""
    starts = np.cumsum([0, *(channels.n for channels in each)])
    real = np.concatenate([channels.real + start for channels, start in zip(each, starts, strict=False)])
    return _Channels(real, int(starts[-1]))
