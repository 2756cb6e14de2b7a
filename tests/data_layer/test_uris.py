"""What copick's parser lets pass is an error here."""

import pytest

from copick_tools.data.uris import names_instances, picks_uri, same_spacing, segmentation_uri, tomogram_uri
from copick_tools.errors import UsageError


def test_picks():
    uri = picks_uri("ribosome:unet/1")
    assert uri.matches("ribosome", "unet", "1")
    assert not uri.matches("ribosome", "unet", "2")
    assert picks_uri("*:unet/1").matches("anything", "unet", "1")
    assert picks_uri("ribosome").matches("ribosome", "anyone", "0")
    assert str(picks_uri(":unet/1", output=True)) == "*:unet/1"


def test_spacing_matches_within_a_twentieth_of_an_angstrom():
    assert tomogram_uri("wbp@10.0").matches("wbp", 10.012)
    assert not tomogram_uri("wbp@10.0").matches("wbp", 10.06)
    assert tomogram_uri("wbp").matches("wbp", 4.99)
    assert same_spacing(None, 3)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("mito:unet/1?instance=true", True),
        ("*:unet/1@10?panoptic=true", True),
        ("cells:unet/1?multilabel=true", False),
        ("mito:unet/1?instance=false", False),
        ("mito:unet/1@10", False),
        ("*:unet/1", False),
    ],
)
def test_what_names_instances(text, named):
    assert names_instances(text) == named


def test_segmentations():
    multilabel = segmentation_uri("cells:unet/1@10.012?multilabel=true")
    assert multilabel.matches("cells", "unet", "1", 10.012, "multilabel")
    assert not multilabel.matches("cells", "unet", "1", 10.012, "binary")
    untyped = segmentation_uri("cells:unet/1")
    assert untyped.matches("cells", "unet", "1", 20.0, "binary")
    assert not untyped.matches("cells", "unet", "1", 20.0, "instance")
    assert segmentation_uri(str(multilabel)) == multilabel
    binary = segmentation_uri("membrane:u/1@10.0?multilabel=false")
    assert segmentation_uri(str(binary)) == binary


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("cells:unet/1?multilabl=true", "unknown key 'multilabl'"),
        ("cells:unet/1?multilabel=yes", "true or false"),
        ("cells:unet/1?multilabel=true&instance=true", "not both"),
        ("cells:unet/1@ten", "no voxel spacing"),
        ("cells:unet/1@-3", "no voxel spacing"),
        ("micro_sam:unet/1", "no name"),
        (" cells", "no URI"),
        ("", "no URI"),
    ],
)
def test_bad_segmentations(text, reason):
    with pytest.raises(UsageError, match=reason):
        segmentation_uri(text)


@pytest.mark.parametrize(
    "text", ["ribosome", "ribosome:unet", "ribosome:*/1", "ribosome:unet/", "ribosome:un et/1", "a:b/c?x=1"]
)
def test_bad_outputs(text):
    with pytest.raises(UsageError):
        picks_uri(text, output=True)


@pytest.mark.parametrize("text", ["wbp:me/1", "@10", "wbp@10?multilabel=true"])
def test_bad_tomograms(text):
    with pytest.raises(UsageError):
        tomogram_uri(text)
