"""`popsicle doctor` where the installation is odd."""

from importlib.metadata import PackageNotFoundError

from copick_tools.engines.registry import FAMILIES
from copick_tools.workflows import doctor


def test_extras_of_all_families_are_looked_for():
    assert {family.extra for family in FAMILIES.values() if family.extra} <= set(doctor.EXTRAS)


def test_a_module_without_a_record(monkeypatch):
    def unknown(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(doctor, "version", unknown)
    monkeypatch.setattr(doctor, "find_spec", lambda module: module)
    monkeypatch.setattr(doctor.importlib, "import_module", lambda module: None)
    checks = [*doctor._packages(), *doctor._extras(), doctor._torchvision()]
    assert {check.status for check in checks} == {"ok"}
    assert all("no version recorded" in check.detail for check in checks)
