"""Networks of PyTorch: exported, compared, explained by their own modules for layers."""

import unittest

import numpy as np
import torch

import whitebox

from .support import Case


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.body = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Conv2d(8, 12, 3, padding=1), torch.nn.BatchNorm2d(12), torch.nn.ReLU())
        self.drop = torch.nn.Dropout(0.5)
        self.head = torch.nn.Linear(12, 7)

    def forward(self, x):
        return self.head(self.drop(self.body(self.stem(x)).mean((2, 3))))


def gradcam(module, layer, image, target):
    """Grad-CAM by PyTorch's own gradients: Selvaraju et al. 2017, equations 1 and 2."""
    kept = []
    handle = layer.register_forward_hook(lambda _m, _i, out: kept.append(out))
    score = module(image)[0, target]
    handle.remove()
    gradient, = torch.autograd.grad(score, kept[0])
    weights = gradient.mean((2, 3), keepdim=True)
    return torch.relu((weights * kept[0]).sum(1))[0].detach().numpy()


class FromTorch(Case):
    def setUp(self):
        torch.manual_seed(0)
        self.example = torch.randn(2, 3, 32, 32)

    def test_small(self):
        module = Small()
        module.train()
        model = whitebox.from_torch(module, self.example, labels=list("abcdefg"))
        self.assertTrue(module.training and module.drop.training)
        module.eval()
        found = model.explain(self.example, "gradcam", 3, layer=module.body, device="cpu")
        expected = module(self.example).detach().numpy()
        for i in range(2):
            np.testing.assert_allclose(found[i].logits, expected[i], atol=1e-5)
            self.assertEqual(found[i][0].label, "d")
            wanted = gradcam(module, module.body, self.example[i : i + 1], 3)
            np.testing.assert_allclose(found[i]["gradcam"].map, wanted, atol=1e-5 * max(1e-3, np.abs(wanted).max()) + 1e-7)

    def test_resnet(self):
        torchvision = __import__("torchvision")
        module = torchvision.models.resnet18().eval()
        image = torch.randn(1, 3, 64, 64)
        model = whitebox.from_torch(module, image)
        for layer, name in ((module.layer4, "layer4"), (module.layer2[0], "layer2.0"), (module.layer3, module.layer3)):
            found = model.explain(image, "gradcam", 5, layer=name, device="cpu")[0]["gradcam"].map
            wanted = gradcam(module, layer, image, 5)
            np.testing.assert_allclose(found, wanted, atol=2e-4 * np.abs(wanted).max())
        # Tensors are images wherever arrays are.
        batch = torch.randint(0, 255, (2, 90, 80, 3), dtype=torch.uint8)
        a = model.explain(batch, device="cpu")
        b = model.explain(batch.numpy(), device="cpu")
        self.assertSame(a[1]["gradcam"].map, b[1]["gradcam"].map)

    def test_older_exporter(self):
        """What torch.export cannot follow, tracing can."""

        class Branch(Small):
            def forward(self, x):
                if float(x.sum()) > 1e9:
                    return super().forward(-x)
                return super().forward(x)

        module = Branch().eval()
        model = whitebox.from_torch(module, self.example)
        np.testing.assert_allclose(
            model.classify(self.example)[0].logits, module(self.example)[0].detach().numpy(), atol=1e-5)

    def test_refused(self):
        """A file that says something else than the module is refused."""

        class Moody(Small):
            calls = 0

            def forward(self, x):
                Moody.calls += 1
                return super().forward(x) * (1 if Moody.calls == 1 else 2)

        with self.assertRaises(whitebox.ModelError) as caught:
            whitebox.from_torch(Moody(), self.example)
        self.assertIn("differs from what the module says", str(caught.exception))

        class Segments(torch.nn.Module):
            def forward(self, x):
                return x

        with self.assertRaises(whitebox.ModelError) as caught:
            whitebox.from_torch(Segments(), self.example)
        self.assertIn("one row of scores", str(caught.exception))
        with self.assertRaises(whitebox.UsageError):
            whitebox.from_torch(3, self.example)
        with self.assertRaises(whitebox.UsageError):
            whitebox.from_torch(Small(), "photo.jpg")
        model = whitebox.from_torch(Small(), self.example)
        with self.assertRaises(whitebox.UsageError) as caught:
            model.explain(self.example, layer=Small().body)
        self.assertIn("not part", str(caught.exception))

    def test_softmax_and_loader(self):
        module = torch.nn.Sequential(Small(), torch.nn.Softmax(1)).eval()
        model = whitebox.from_torch(module, self.example)
        data = torch.utils.data.TensorDataset(torch.randn(9, 3, 32, 32), torch.arange(9))
        loader = torch.utils.data.DataLoader(data, batch_size=4)
        found = list(model.explain_iter(loader, "layercam", batch=3, device="cpu"))
        self.assertEqual(len(found), 9)
        for i in (0, 8):
            np.testing.assert_allclose(found[i].probabilities, module(data[i][0][None])[0].detach().numpy(), atol=1e-5)
        # Gradients, devices and types do not matter.
        image = data[0][0].double().requires_grad_()
        self.assertSame(model.explain(image, "layercam", device="cpu")[0][0].map, found[0][0].map)


if __name__ == "__main__":
    unittest.main()
