// The headers of the phantom's objects: complete IODs of CT, MR and PET images (PS3.3 A.3, A.4, A.21).
#include <array>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

#include "imaging/dicom/transfer_syntax.h"
#include "imaging/phantom/element_writer.h"
#include "imaging/phantom/phantom.h"

namespace narthex::phantom {
namespace {

using dicom::Tag;
namespace tags = dicom::tags;

constexpr absl::string_view kMrClass = "1.2.840.10008.5.1.4.1.1.4";
constexpr absl::string_view kCtClass = "1.2.840.10008.5.1.4.1.1.2";
constexpr absl::string_view kPtClass = "1.2.840.10008.5.1.4.1.1.128";
constexpr absl::string_view kImplementationUid = "2.25.171543892713423568190326318932061120113";
constexpr absl::string_view kImplementationName = "NARTHEX_PHANTOM";
constexpr double kPixelSpacingMm = 0.9765625;
constexpr double kSliceSpacingMm = 3;

struct SeriesKind {
  absl::string_view description, protocol, sequence, orientation;
  absl::string_view repetition_time, echo_time, flip_angle;
};
constexpr std::array<SeriesKind, 5> kMrSeries = {{
    {"t1_mprage_tra", "t1_mprage_tra_p2", "*tfl3d1_ns", "1\\0\\0\\0\\1\\0", "2300", "2.98", "9"},
    {"t2_tse_tra", "t2_tse_tra_320", "*tse2d1_15", "1\\0\\0\\0\\1\\0", "5600", "96", "150"},
    {"flair_sag", "flair_sag_3mm", "*tir2d1_16", "0\\1\\0\\0\\0\\-1", "9000", "92", "150"},
    {"ep2d_diff_3scan", "ep2d_diff_3scan_p2", "*ep_b1000t", "1\\0\\0\\0\\1\\0", "4100", "88", "90"},
    {"ep2d_bold_rest", "ep2d_bold_rest_tr2", "*epfid2d1_64", "1\\0\\0\\0\\1\\0", "2000", "30", "77"},
}};
constexpr std::array<SeriesKind, 3> kCtSeries = {{
    {"Thorax 3.0 B31f", "ThoraxRoutine", "", "1\\0\\0\\0\\1\\0", "", "", ""},
    {"Thorax 3.0 B70f lung", "ThoraxRoutine", "", "1\\0\\0\\0\\1\\0", "", "", ""},
    {"Abdomen 3.0 B30f", "AbdomenRoutine", "", "1\\0\\0\\0\\1\\0", "", "", ""},
}};
constexpr std::array<SeriesKind, 2> kPtSeries = {{
    {"PET AC", "WholeBody FDG", "", "1\\0\\0\\0\\1\\0", "", "", ""},
    {"PET NAC", "WholeBody FDG", "", "1\\0\\0\\0\\1\\0", "", "", ""},
}};

const SeriesKind& KindOf(Modality modality, int series) {
  switch (modality) {
    case Modality::kCt:
      return kCtSeries[series % kCtSeries.size()];
    case Modality::kPt:
      return kPtSeries[series % kPtSeries.size()];
    default:
      return kMrSeries[series % kMrSeries.size()];
  }
}

// One second a slice, ten minutes a series, from 09:30:00.
std::string TimeOf(int series, int slice) {
  const int seconds = (9 * 3600 + 30 * 60 + series * 600 + slice) % 86400;
  return absl::StrFormat("%02d%02d%02d.000000", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

// Siemens' CSA format, version 2 (nibabel documents it): named tags with text values, here with a filler at
// the end.
std::string CsaBlock(absl::string_view name, absl::string_view value, size_t bytes) {
  constexpr size_t kHead = 16, kTagHead = 84, kItemHead = 16;
  std::string block("SV10\4\3\2\1", 8);
  const auto put = [&block](uint32_t number) {
    block.append(reinterpret_cast<const char*>(&number), sizeof number);
  };
  put(1);   // tags
  put(77);  // a magic number
  std::string field(name);
  field.resize(64, '\0');
  block += field;
  put(1);  // values
  block.append("LO\0\0", 4);
  put(0);  // data type
  put(1);  // items
  put(77);
  // The item fills what is left, so that the block has exactly the size asked for.
  const size_t least = kHead + kTagHead + kItemHead;
  std::string text(value);
  text.resize(bytes > least ? bytes - least : 4, '\0');
  for (int i = 0; i < 4; ++i) put(i == 2 ? 77 : static_cast<uint32_t>(text.size()));
  return block + text;
}

// Everything about one object that its header depends on.
struct Slice {
  const Options& options;
  const SeriesKind& kind;
  int series, slice;
  std::string study_uid, series_uid, frame_uid, instance_uid;
  absl::string_view class_uid;
};

std::string Comments(const Options& options) {
  std::string text;
  const auto add = [&text](absl::string_view name, absl::string_view value) {
    if (!value.empty()) absl::StrAppend(&text, text.empty() ? "" : " ", name, ":", value);
  };
  add("Project", options.project);
  add("Subject", options.subject);
  add("Session", options.session);
  return text;
}

std::string FirstOf(absl::string_view a, absl::string_view b, absl::string_view c) {
  return std::string(!a.empty() ? a : !b.empty() ? b : c);
}

void WriteMeta(const Slice& s, std::string* out) {
  std::string meta;
  ElementWriter(&meta)
      .Bytes(tags::kFileMetaInformationVersion, "OB", absl::string_view("\0\1", 2))
      .Text(tags::kMediaStorageSOPClassUID, "UI", s.class_uid)
      .Text(tags::kMediaStorageSOPInstanceUID, "UI", s.instance_uid)
      .Text(tags::kTransferSyntaxUID, "UI", dicom::kExplicitVrLittleEndian)
      .Text(tags::kImplementationClassUID, "UI", kImplementationUid)
      .Text(tags::kImplementationVersionName, "SH", kImplementationName);
  out->append(128, '\0');
  out->append("DICM");
  ElementWriter(out).Ul(tags::kFileMetaInformationGroupLength, static_cast<uint32_t>(meta.size()));
  *out += meta;
}

absl::string_view ImageTypeOf(const Slice& s) {
  switch (s.options.modality) {
    case Modality::kCt:
      return "ORIGINAL\\PRIMARY\\AXIAL\\CT_SOM5 SPI";
    case Modality::kPt:
      return "ORIGINAL\\PRIMARY";
    default:
      return "ORIGINAL\\PRIMARY\\M\\ND\\NORM";
  }
}

void WriteIdentification(const Slice& s, ElementWriter& w) {
  const Options& o = s.options;
  const std::string time = TimeOf(s.series, s.slice), series_time = TimeOf(s.series, 0), date = o.study_date;
  w.Text(tags::kSpecificCharacterSet, "CS", "ISO_IR 100")
      .Text(tags::kImageType, "CS", ImageTypeOf(s))
      .Text(tags::kInstanceCreationDate, "DA", date)
      .Text(tags::kInstanceCreationTime, "TM", time)
      .Text(tags::kSOPClassUID, "UI", s.class_uid)
      .Text(tags::kSOPInstanceUID, "UI", s.instance_uid)
      .Text(tags::kStudyDate, "DA", date)
      .Text(tags::kSeriesDate, "DA", date)
      .Text(tags::kAcquisitionDate, "DA", date)
      .Text(tags::kContentDate, "DA", date)
      .Text(tags::kStudyTime, "TM", TimeOf(0, 0))
      .Text(tags::kSeriesTime, "TM", series_time)
      .Text(tags::kAcquisitionTime, "TM", time)
      .Text(tags::kContentTime, "TM", time)
      .Text(tags::kAccessionNumber, "SH", absl::StrFormat("A%07d", o.seed % 10000000))
      .Text(tags::kModality, "CS", ModalityName(o.modality))
      .Text(tags::kManufacturer, "LO", "SIEMENS")
      .Text(tags::kInstitutionName, "LO", "Phantom General Hospital")
      .Text(tags::kInstitutionAddress, "ST", "1 Ellipsoid Way, Sliceville")
      .Text(tags::kReferringPhysicianName, "PN", "Referrer^Rita")
      .Text(tags::kStationName, "SH", "PHANTOM01")
      .Text(tags::kStudyDescription, "LO",
            FirstOf(o.study_description, "", absl::StrCat("Phantom ", ModalityName(o.modality))))
      .Text(tags::kSeriesDescription, "LO", s.kind.description)
      .Text(tags::kPerformingPhysicianName, "PN", "Performer^Paul")
      .Text(tags::kOperatorsName, "PN", "Operator^Olga")
      .Text(tags::kManufacturerModelName, "LO",
            o.modality == Modality::kCt   ? "SOMATOM Phantom"
            : o.modality == Modality::kMr ? "MAGNETOM Phantom"
                                          : "Biograph Phantom");
}

void WritePatient(const Slice& s, ElementWriter& w) {
  const Options& o = s.options;
  w.Text(tags::kPatientName, "PN", FirstOf(o.patient_name, o.subject, absl::StrCat("Phantom^", o.seed)))
      .Text(tags::kPatientID, "LO",
            FirstOf(o.patient_id, o.session, absl::StrFormat("PH%06d", o.seed % 1000000)))
      .Text(tags::kPatientBirthDate, "DA", absl::StrFormat("19%02d0615", 40 + o.seed % 50))
      .Text(tags::kPatientSex, "CS", o.seed % 2 == 0 ? "F" : "M")
      .Text(tags::kPatientAge, "AS", absl::StrFormat("%03dY", 84 - o.seed % 50))
      .Text(tags::kPatientSize, "DS", "1.75")
      .Text(tags::kPatientWeight, "DS", "70");
  const std::string comments = Comments(o);
  if (!comments.empty()) w.Text(tags::kPatientComments, "LT", comments);
}

void WriteMrAcquisition(const Slice& s, ElementWriter& w) {
  w.Text(tags::kBodyPartExamined, "CS", "HEAD")
      .Text(tags::kScanningSequence, "CS", "GR\\IR")
      .Text(tags::kSequenceVariant, "CS", "SP\\MP")
      .Text(tags::kScanOptions, "CS", "IR")
      .Text(tags::kMRAcquisitionType, "CS", "3D")
      .Text(tags::kSequenceName, "SH", s.kind.sequence)
      .Text(tags::kSliceThickness, "DS", absl::StrCat(kSliceSpacingMm))
      .Text(tags::kRepetitionTime, "DS", s.kind.repetition_time)
      .Text(tags::kEchoTime, "DS", s.kind.echo_time)
      .Text(tags::kInversionTime, "DS", "900")
      .Text(tags::kNumberOfAverages, "DS", "1")
      .Text(tags::kImagingFrequency, "DS", "123.2")
      .Text(tags::kImagedNucleus, "SH", "1H")
      .Text(tags::kEchoNumbers, "IS", "1")
      .Text(tags::kMagneticFieldStrength, "DS", "3")
      .Text(tags::kSpacingBetweenSlices, "DS", absl::StrCat(kSliceSpacingMm))
      .Text(tags::kNumberOfPhaseEncodingSteps, "IS", "239")
      .Text(tags::kEchoTrainLength, "IS", "1")
      .Text(tags::kPercentSampling, "DS", "100")
      .Text(tags::kPercentPhaseFieldOfView, "DS", "100")
      .Text(tags::kPixelBandwidth, "DS", "240")
      .Text(tags::kDeviceSerialNumber, "LO", "45123")
      .Text(tags::kSoftwareVersions, "LO", "syngo MR E11")
      .Text(tags::kProtocolName, "LO", s.kind.protocol)
      .Text(tags::kTransmitCoilName, "SH", "Body")
      .Text(tags::kInPlanePhaseEncodingDirection, "CS", "ROW")
      .Text(tags::kFlipAngle, "DS", s.kind.flip_angle)
      .Text(tags::kPatientPosition, "CS", "HFS");
}

void WriteCtAcquisition(const Slice& s, ElementWriter& w) {
  w.Text(tags::kBodyPartExamined, "CS", "CHEST")
      .Text(tags::kScanOptions, "CS", "HELICAL MODE")
      .Text(tags::kSliceThickness, "DS", absl::StrCat(kSliceSpacingMm))
      .Text(tags::kKVP, "DS", "120")
      .Text(tags::kDataCollectionDiameter, "DS", "500")
      .Text(tags::kDeviceSerialNumber, "LO", "66123")
      .Text(tags::kSoftwareVersions, "LO", "syngo CT 2012B")
      .Text(tags::kProtocolName, "LO", s.kind.protocol)
      .Text(tags::kReconstructionDiameter, "DS", "500")
      .Text(tags::kDistanceSourceToDetector, "DS", "1085.6")
      .Text(tags::kDistanceSourceToPatient, "DS", "595")
      .Text(tags::kGantryDetectorTilt, "DS", "0")
      .Text(tags::kTableHeight, "DS", "155")
      .Text(tags::kRotationDirection, "CS", "CW")
      .Text(tags::kExposureTime, "IS", "500")
      .Text(tags::kXRayTubeCurrent, "IS", "210")
      .Text(tags::kExposure, "IS", "105")
      .Text(tags::kFilterType, "SH", "FLAT")
      .Text(tags::kGeneratorPower, "IS", "25")
      .Text(tags::kFocalSpots, "DS", "1.2")
      .Text(tags::kConvolutionKernel, "SH", s.series % 3 == 1 ? "B70f" : "B31f")
      .Text(tags::kPatientPosition, "CS", "HFS");
}

void WritePtAcquisition(const Slice& s, ElementWriter& w) {
  w.Text(tags::kBodyPartExamined, "CS", "WHOLEBODY")
      .Text(tags::kSliceThickness, "DS", absl::StrCat(kSliceSpacingMm))
      .Text(tags::kDeviceSerialNumber, "LO", "51123")
      .Text(tags::kSoftwareVersions, "LO", "VG60A")
      .Text(tags::kProtocolName, "LO", s.kind.protocol)
      .Text(tags::kActualFrameDuration, "IS", "120000")
      .Text(tags::kPatientPosition, "CS", "HFS");
}

void WriteRelationship(const Slice& s, ElementWriter& w) {
  const double at = (s.slice - (s.options.slices - 1) / 2.0) * kSliceSpacingMm;
  const double left = -kPixelSpacingMm * s.options.columns / 2, top = -kPixelSpacingMm * s.options.rows / 2;
  // Sagittal series advance along x, the others along z.
  const bool sagittal = s.kind.orientation.front() == '0';
  const std::string position =
      sagittal ? absl::StrCat(at, "\\", left, "\\", -top) : absl::StrCat(left, "\\", top, "\\", at);
  w.Text(tags::kStudyInstanceUID, "UI", s.study_uid)
      .Text(tags::kSeriesInstanceUID, "UI", s.series_uid)
      .Text(tags::kStudyID, "SH", "1")
      .Text(tags::kSeriesNumber, "IS", absl::StrCat(s.series + 1))
      .Text(tags::kAcquisitionNumber, "IS", "1")
      .Text(tags::kInstanceNumber, "IS", absl::StrCat(s.slice + 1))
      .Text(tags::kImagePositionPatient, "DS", position)
      .Text(tags::kImageOrientationPatient, "DS", s.kind.orientation)
      .Text(tags::kFrameOfReferenceUID, "UI", s.frame_uid)
      .Text(Tag(0x0020, 0x1040), "LO", "")  // PositionReferenceIndicator
      .Text(tags::kSliceLocation, "DS", absl::StrCat(at));
}

void WritePixelDescription(const Slice& s, ElementWriter& w) {
  const Options& o = s.options;
  const bool pt = o.modality == Modality::kPt;
  w.Us(tags::kSamplesPerPixel, 1)
      .Text(tags::kPhotometricInterpretation, "CS", "MONOCHROME2")
      .Us(tags::kRows, static_cast<uint16_t>(o.rows))
      .Us(tags::kColumns, static_cast<uint16_t>(o.columns))
      .Text(tags::kPixelSpacing, "DS", absl::StrCat(kPixelSpacingMm, "\\", kPixelSpacingMm));
  if (pt) w.Text(Tag(0x0028, 0x0051), "CS", s.series % 2 == 0 ? "DECY\\ATTN\\SCAT\\RAN" : "DECY\\RAN");
  w.Us(tags::kBitsAllocated, 16)
      .Us(tags::kBitsStored, pt ? 16 : 12)
      .Us(tags::kHighBit, pt ? 15 : 11)
      .Us(tags::kPixelRepresentation, 0)
      .Text(tags::kBurnedInAnnotation, "CS", "NO")
      .Text(tags::kWindowCenter, "DS",
            o.modality == Modality::kCt ? "40"
            : pt                        ? "5000"
                                        : "500")
      .Text(tags::kWindowWidth, "DS",
            o.modality == Modality::kCt ? "400"
            : pt                        ? "10000"
                                        : "1000");
  if (o.modality == Modality::kMr) return;
  w.Text(tags::kRescaleIntercept, "DS", pt ? "0" : "-1024")
      .Text(tags::kRescaleSlope, "DS", pt ? absl::StrCat(2 + 0.01 * s.slice) : "1");
  if (!pt) w.Text(tags::kRescaleType, "LO", "HU");
}

// Two CSA blocks for MR, a filler for the others, so that the header comes out at its size. `rest_bytes`:
// what is left for the group, heads included.
void WritePrivateBlock(const Slice& s, size_t rest_bytes, ElementWriter& w) {
  if (s.options.modality != Modality::kMr) {
    constexpr absl::string_view kCreator = "NARTHEX PHANTOM 1.0";
    constexpr size_t kHeads = 8 + 20 + 12;  // the creator's element, and the head of the filler
    if (rest_bytes <= kHeads) return;
    w.Text(Tag(0x0029, 0x0010), "LO", kCreator)
        .Bytes(Tag(0x0029, 0x1001), "OB", std::string((rest_bytes - kHeads) & ~size_t{1}, '\x2a'));
    return;
  }
  constexpr size_t kHeads =
      8 + 18 + 8 + 12 + 8 + 8 + 12 + 8 + 2 + 12;  // the six elements without the two blocks
  const size_t blocks = rest_bytes > kHeads ? (rest_bytes - kHeads) / 2 & ~size_t{1} : 0;
  const size_t second = rest_bytes > kHeads ? (rest_bytes - kHeads - blocks) & ~size_t{1} : 0;
  if (blocks < 160) return;
  w.Text(Tag(0x0029, 0x0010), "LO", "SIEMENS CSA HEADER")
      .Text(Tag(0x0029, 0x1008), "CS", "IMAGE NUM 4 ")
      .Text(Tag(0x0029, 0x1009), "LO", "20240229")
      .Bytes(Tag(0x0029, 0x1010), "OB", CsaBlock("SliceNormalVector", "0.0", blocks))
      .Text(Tag(0x0029, 0x1018), "CS", "MR")
      .Bytes(Tag(0x0029, 0x1020), "OB",
             CsaBlock("MrPhoenixProtocol",
                      absl::StrCat("### ASCCONV BEGIN ###\ntProtocolName = \"", s.kind.protocol,
                                   "\"\n### ASCCONV END ###"),
                      second));
}

std::string PetSequences() {
  std::string code, item;
  ElementWriter(&code)
      .Text(tags::kCodeValue, "SH", "C-111A1")
      .Text(tags::kCodingSchemeDesignator, "SH", "SRT")
      .Text(tags::kCodeMeaning, "LO", "^18^Fluorine");
  ElementWriter(&item)
      .Text(tags::kRadiopharmaceutical, "LO", "Fluorodeoxyglucose")
      .Text(tags::kRadiopharmaceuticalStartTime, "TM", "083000.000000")
      .Text(tags::kRadionuclideTotalDose, "DS", "368000000")
      .Text(tags::kRadionuclideHalfLife, "DS", "6586.2")
      .Sequence(tags::kRadionuclideCodeSequence, code);
  return item;
}

void WritePetModule(const Slice& s, ElementWriter& w) {
  w.Sequence(tags::kRadiopharmaceuticalInformationSequence, PetSequences())
      .Us(tags::kNumberOfSlices, static_cast<uint16_t>(s.options.slices))
      .Text(tags::kSeriesType, "CS", "WHOLE BODY\\IMAGE")
      .Text(tags::kUnits, "CS", "BQML")
      .Text(tags::kCountsSource, "CS", "EMISSION")
      .Text(tags::kRandomsCorrectionMethod, "CS", "DLYD")
      .Text(tags::kAttenuationCorrectionMethod, "LO", s.series % 2 == 0 ? "measured" : "none")
      .Text(tags::kDecayCorrection, "CS", "START")
      .Text(tags::kReconstructionMethod, "LO", "OSEM3D 2i24s")
      .Text(tags::kScatterCorrectionMethod, "LO", "Model-based")
      .Text(tags::kFrameReferenceTime, "DS", "60000")
      .Text(tags::kDecayFactor, "DS", "1.01")
      .Us(tags::kImageIndex, static_cast<uint16_t>(s.slice + 1));
}

}  // namespace

absl::string_view Study::sop_class_uid() const {
  switch (options_.modality) {
    case Modality::kCt:
      return kCtClass;
    case Modality::kPt:
      return kPtClass;
    default:
      return kMrClass;
  }
}

void Study::AppendHeader(int series, int slice, std::string* out) const {
  const Slice s{options_,
                KindOf(options_.modality, series),
                series,
                slice,
                study_instance_uid(),
                SeriesInstanceUid(series),
                SeriesInstanceUid(-1),
                SopInstanceUid(series, slice),
                sop_class_uid()};
  WriteMeta(s, out);
  ElementWriter w(out);
  WriteIdentification(s, w);
  WritePatient(s, w);
  switch (options_.modality) {
    case Modality::kCt:
      WriteCtAcquisition(s, w);
      break;
    case Modality::kPt:
      WritePtAcquisition(s, w);
      break;
    default:
      WriteMrAcquisition(s, w);
  }
  WriteRelationship(s, w);
  WritePixelDescription(s, w);
  std::string tail;
  ElementWriter after(&tail);
  after.Text(tags::kPerformedProcedureStepStartDate, "DA", options_.study_date)
      .Text(tags::kPerformedProcedureStepStartTime, "TM", TimeOf(0, 0));
  if (options_.modality == Modality::kPt) WritePetModule(s, after);
  constexpr size_t kPixelHead = 12;
  const size_t so_far = out->size() + tail.size() + kPixelHead;
  const auto wanted = static_cast<size_t>(options_.header_bytes);
  WritePrivateBlock(s, wanted > so_far ? wanted - so_far : 0, w);
  *out += tail;
}

}  // namespace narthex::phantom
