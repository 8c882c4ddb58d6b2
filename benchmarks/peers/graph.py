"""A model folder of models.py as ONNX, written node by node: peers that read ONNX need no PyTorch."""
import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file


class Graph:
    """Nodes and initializers; each method returns the name of its result."""

    def __init__(self, weights):
        self.weights, self.nodes, self.initializers, self.known = weights, [], [], set()

    def constant(self, name, value):
        if name not in self.known:
            self.known.add(name)
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind, inputs, outputs=1, **attributes):
        names = [f"{kind}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=f"{kind}_{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def linear(self, x, prefix):
        product = self.node("MatMul", [x, self.constant(f"{prefix}.wT", self.weights[f"{prefix}.weight"].T)])
        return self.node("Add", [product, self.constant(f"{prefix}.b", self.weights[f"{prefix}.bias"])])

    def norm(self, x, prefix, epsilon):
        return self.node("LayerNormalization", [x, self.constant(f"{prefix}.g", self.weights[f"{prefix}.weight"]),
                                                self.constant(f"{prefix}.b", self.weights[f"{prefix}.bias"])], axis=-1, epsilon=epsilon)

    def reshape(self, x, *shape):
        return self.node("Reshape", [x, self.constant("shape_" + "_".join(map(str, shape)), np.array(shape, np.int64))])


def write(folder, path, batch):
    """The ONNX file of a folder for one batch: input "x" [batch, 3, side, side], output "logits"."""
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    width, heads, epsilon = config["hidden_size"], config["num_attention_heads"], config["layer_norm_eps"]
    root, side, patch = config["model_type"], config["image_size"], config["patch_size"]
    patches, prefix = (side // patch)**2, ["cls_token"] + (["distillation_token"] if root == "deit" else [])
    tokens, head = patches + len(prefix), width // heads
    g = Graph(weights)
    at = f"{root}.embeddings"
    x = g.node("Conv", ["x", g.constant("patch.w", weights[f"{at}.patch_embeddings.projection.weight"]),
                        g.constant("patch.b", weights[f"{at}.patch_embeddings.projection.bias"])], strides=[patch, patch], kernel_shape=[patch, patch])
    x = g.node("Transpose", [g.reshape(x, batch, width, patches)], perm=[0, 2, 1])
    first = [g.constant(name, np.repeat(weights[f"{at}.{name}"], batch, 0)) for name in prefix]
    x = g.node("Add", [g.node("Concat", [*first, x], axis=1), g.constant("positions", weights[f"{at}.position_embeddings"])])
    for i in range(config["num_hidden_layers"]):
        at = f"{root}.encoder.layer.{i}"
        y = g.norm(x, f"{at}.layernorm_before", epsilon)
        q, k, v = (g.reshape(g.linear(y, f"{at}.attention.attention.{part}"), batch, tokens, heads, head) for part in ("query", "key", "value"))
        q, v = (g.node("Transpose", [z], perm=[0, 2, 1, 3]) for z in (q, v))
        k = g.node("Transpose", [k], perm=[0, 2, 3, 1])
        scores = g.node("Mul", [g.node("MatMul", [q, k]), g.constant("scale", np.float32(head**-0.5))])
        y = g.node("MatMul", [g.node("Softmax", [scores], axis=-1), v])
        y = g.reshape(g.node("Transpose", [y], perm=[0, 2, 1, 3]), batch, tokens, width)
        x = g.node("Add", [x, g.linear(y, f"{at}.attention.output.dense")])
        y = g.linear(g.norm(x, f"{at}.layernorm_after", epsilon), f"{at}.intermediate.dense")
        x = g.node("Add", [x, g.linear(g.node("Gelu", [y]), f"{at}.output.dense")])
    x = g.norm(x, f"{root}.layernorm", epsilon)
    x = g.node("Gather", [x, g.constant("first", np.int64(0))], axis=1)
    logits = g.linear(x, "classifier")
    g.nodes.append(helper.make_node("Identity", [logits], ["logits"]))
    graph = helper.make_graph(g.nodes, "vit", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, side, side])],
                              [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, len(config["id2label"])])], g.initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
