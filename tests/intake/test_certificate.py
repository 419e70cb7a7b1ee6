import shutil
import ssl
from pathlib import PosixPath

import pytest

from intake.certificate import Certificate
from loop.errors import CertificateError
from loop.values import utc_now
from tests.intake.certificates import DAY, write_certificate


@pytest.fixture
def served(tmp_path):
    return Certificate(*write_certificate(tmp_path))


class Swapped(PosixPath):
    """A chain that is whole at the first look, and being replaced at the second."""

    left = None

    def read_bytes(self):
        if self.left is None:
            raise FileNotFoundError("gone")
        return self.left


@pytest.mark.parametrize("left", [None, b"", b"half a file"], ids=["gone", "empty", "half"])
def test_a_chain_that_is_replaced_while_it_is_read_cannot_be_used_and_ends_nothing(tmp_path, left):
    chain, key = write_certificate(tmp_path)
    swapped = Swapped(chain)
    swapped.left = left

    with pytest.raises(CertificateError, match=r"chain.pem: "):
        Certificate(swapped, key)


def test_when_it_ends_is_known(served):
    assert timedelta_close(served.ends - utc_now(), 30 * DAY)


def timedelta_close(one, other):
    return abs(one - other) < DAY / 24


def test_one_that_has_ended_is_refused(tmp_path):
    with pytest.raises(CertificateError, match=r"chain.pem: expected a valid certificate, ended"):
        Certificate(*write_certificate(tmp_path, days=-1))


@pytest.mark.parametrize("name", ["chain.pem", "key.pem"])
@pytest.mark.parametrize("left", [None, b"", b"no certificate"], ids=["gone", "empty", "foreign"])
def test_a_file_that_cannot_be_used_is_refused_with_its_name(tmp_path, name, left):
    files = write_certificate(tmp_path)
    (tmp_path / name).unlink()
    if left is not None:
        (tmp_path / name).write_bytes(left)

    with pytest.raises(CertificateError, match=r"chain.pem with .*key.pem: "):
        Certificate(*files)


def test_another_one_in_its_place_is_taken_once(served, tmp_path):
    write_certificate(tmp_path, days=90)

    assert served.renew()
    assert timedelta_close(served.ends - utc_now(), 90 * DAY)
    assert not served.renew()


def test_one_whose_key_has_not_come_yet_waits_for_it(served, tmp_path):
    ends, context = served.ends, served.context
    (tmp_path / "new").mkdir()
    chain, key = write_certificate(tmp_path / "new", days=90)
    shutil.move(chain, tmp_path / "chain.pem")
    assert not served.renew()
    assert served.ends == ends

    shutil.move(key, tmp_path / "key.pem")
    assert served.renew()
    assert served.context is context


def test_one_that_has_ended_or_is_gone_leaves_the_old_one(served, tmp_path, caplog):
    ends = served.ends
    write_certificate(tmp_path, days=-1)
    assert not served.renew()
    (tmp_path / "chain.pem").unlink()
    assert not served.renew()

    assert served.ends == ends
    assert caplog.text.count("the certificate of before stays") == 2


def test_what_is_served_needs_tls_1_2(served):
    assert served.context.minimum_version == ssl.TLSVersion.TLSv1_2
