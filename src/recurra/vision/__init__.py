"""Pictures: opened safely, made into numbers, and read by convolutional networks into vectors."""

from recurra.vision.base import Encoder
from recurra.vision.convnet import ConvNet
from recurra.vision.pictures import SUFFIXES, as_rgb, check_picture, open_picture
from recurra.vision.preprocessing import Preprocessing, imagenet
from recurra.vision.registry import encoder, names
from recurra.vision.resnet import ResNet
from recurra.vision.vgg import Vgg16

__all__ = [
    "SUFFIXES",
    "ConvNet",
    "Encoder",
    "Preprocessing",
    "ResNet",
    "Vgg16",
    "as_rgb",
    "check_picture",
    "encoder",
    "imagenet",
    "names",
    "open_picture",
]
