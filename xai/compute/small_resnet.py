"""A small residual network for pictures of about 64 pixels, with the layer names of torchvision's ResNets."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet


class SmallResNet(ResNet):
    """A ResNet (He et al. 2016) whose maps stay large on small pictures: three halvings in place of five.

    The first convolution is 3 x 3 with stride 2, no pooling follows, and the last stage keeps the size of its maps. So
    64 x 64 pixels give maps of 32 x 32 in layer1, 16 x 16 in layer2, and 8 x 8 in layer3 and layer4.
    """

    def __init__(
        self,
        num_classes: int = 200,
        widths: Sequence[int] = (32, 64, 128, 256),
        blocks: Sequence[int] = (1, 2, 2, 2),
    ) -> None:
        super().__init__(BasicBlock, list(blocks), num_classes=num_classes, zero_init_residual=True)
        self.inplanes = widths[0]
        self.conv1 = nn.Conv2d(3, widths[0], 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.maxpool = nn.Identity()
        for stage, (width, count, stride) in enumerate(zip(widths, blocks, (1, 2, 2, 1), strict=True), start=1):
            setattr(self, f"layer{stage}", self._make_layer(BasicBlock, width, count, stride))
        self.fc = nn.Linear(widths[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BasicBlock):
                nn.init.zeros_(module.bn2.weight)  # each block starts as the identity
