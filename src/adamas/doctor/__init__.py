"""The doctor: names what ails a training while it runs or after, with evidence from it, and what to change.

It takes plain numbers, so that any loop can tell it how it goes; `adamas.torch.Doctor` sees more by itself.

>>> from adamas.doctor import Doctor
>>> doctor = Doctor(steps=200, settings={"rule": "sgd", "lr": 0.3})
>>> for step in range(30):
...     doctor.observe(0.5 * 1.5**step, lr=0.3, update_norm=0.8, param_norm=1.0)
>>> finding = doctor.findings[0]
>>> finding.code, finding.name
('D201', 'lr-too-high')
>>> finding.remedy.settings
{'lr': 0.004}
"""

from adamas.doctor.diagnosis import Diagnosis, Finding, Remedy
from adamas.doctor.observer import Doctor, replay
from adamas.doctor.run import Run

__all__ = ["Diagnosis", "Doctor", "Finding", "Remedy", "Run", "replay"]
