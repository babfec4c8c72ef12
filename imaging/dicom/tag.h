// DICOM attribute tags, and paths of tags into sequences.
//
//   facts.Get(tags::kPatientID)
//   facts.Get(TagPath(tags::kRadiopharmaceuticalInformationSequence, tags::kRadiopharmaceutical))
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/types/span.h"

namespace narthex::dicom {

// (group, element), PS3.5 section 3.10. Ordered as data sets are.
class Tag {
 public:
  constexpr Tag() = default;
  constexpr explicit Tag(uint32_t value) : value_(value) {}
  constexpr Tag(uint16_t group, uint16_t element) : value_(uint32_t{group} << 16 | element) {}

  constexpr uint32_t value() const { return value_; }
  constexpr uint16_t group() const { return static_cast<uint16_t>(value_ >> 16); }
  constexpr uint16_t element() const { return static_cast<uint16_t>(value_); }
  // A private attribute or private creator: odd group (PS3.5 section 7.8).
  constexpr bool is_private() const { return (group() & 1) != 0; }
  // (gggg,0010-00FF) of an odd group: holds the name of who owns a block.
  constexpr bool is_private_creator() const { return is_private() && element() >= 0x10 && element() <= 0xff; }
  // For a private attribute (gggg,bbxx), the tag (gggg,00bb) that holds its creator.
  constexpr Tag private_creator() const { return Tag(group(), static_cast<uint16_t>(element() >> 8)); }
  constexpr bool is_group_length() const { return element() == 0; }

  // "(0010,0020)".
  std::string ToString() const { return absl::StrFormat("(%04X,%04X)", group(), element()); }

  friend constexpr bool operator==(Tag, Tag) = default;
  friend constexpr auto operator<=>(Tag, Tag) = default;
  template <typename H>
  friend H AbslHashValue(H hash, Tag tag) {
    return H::combine(std::move(hash), tag.value_);
  }

 private:
  uint32_t value_ = 0;
};

// The attribute at the end of a chain of sequences, of which always the first item is meant. One to
// kMaxDepth tags. Thread-compatible.
class TagPath {
 public:
  static constexpr size_t kMaxDepth = 6;  // fixed: the size of an array

  template <typename... Tags>
  constexpr TagPath(Tag first, Tags... rest)
      : tags_{first, rest...},
        depth_(1 + sizeof...(rest)) {  // NOLINT(google-explicit-constructor): a Tag is a path of one
    static_assert(1 + sizeof...(rest) <= kMaxDepth);
  }
  // A copy of `tags`; what is beyond kMaxDepth is cut off. `tags` must not be empty.
  static constexpr TagPath Of(absl::Span<const Tag> tags) {
    TagPath path(tags[0]);
    for (size_t i = 1; i < tags.size() && i < kMaxDepth; ++i) path.tags_[path.depth_++] = tags[i];
    return path;
  }

  constexpr absl::Span<const Tag> tags() const { return absl::Span<const Tag>(tags_.data(), depth_); }
  constexpr size_t depth() const { return depth_; }
  constexpr Tag front() const { return tags_[0]; }
  constexpr Tag back() const { return tags_[depth_ - 1]; }
  // This path inside the first item of `sequence`. depth() must be below kMaxDepth.
  constexpr TagPath Within(Tag sequence) const {
    TagPath path(sequence);
    for (size_t i = 0; i < depth_ && path.depth_ < kMaxDepth; ++i) path.tags_[path.depth_++] = tags_[i];
    return path;
  }

  // "(0054,0016)/(0018,0031)".
  std::string ToString() const {
    std::string text;
    for (Tag tag : tags()) {
      if (!text.empty()) text += '/';
      text += tag.ToString();
    }
    return text;
  }

  friend constexpr bool operator==(const TagPath& a, const TagPath& b) = default;

 private:
  std::array<Tag, kMaxDepth> tags_{};
  size_t depth_ = 0;
};

// Attributes that this product names, by their DICOM keywords (PS3.6). dictionary.h knows all of them.
namespace tags {

inline constexpr Tag kCommandField(0x0000, 0x0100);
inline constexpr Tag kFileMetaInformationGroupLength(0x0002, 0x0000);
inline constexpr Tag kFileMetaInformationVersion(0x0002, 0x0001);
inline constexpr Tag kMediaStorageSOPClassUID(0x0002, 0x0002);
inline constexpr Tag kMediaStorageSOPInstanceUID(0x0002, 0x0003);
inline constexpr Tag kTransferSyntaxUID(0x0002, 0x0010);
inline constexpr Tag kImplementationClassUID(0x0002, 0x0012);
inline constexpr Tag kImplementationVersionName(0x0002, 0x0013);
inline constexpr Tag kSourceApplicationEntityTitle(0x0002, 0x0016);
inline constexpr Tag kDirectoryRecordSequence(0x0004, 0x1220);
inline constexpr Tag kSpecificCharacterSet(0x0008, 0x0005);
inline constexpr Tag kImageType(0x0008, 0x0008);
inline constexpr Tag kRecognitionCode(0x0008, 0x0010);
inline constexpr Tag kInstanceCreationDate(0x0008, 0x0012);
inline constexpr Tag kInstanceCreationTime(0x0008, 0x0013);
inline constexpr Tag kSOPClassUID(0x0008, 0x0016);
inline constexpr Tag kSOPInstanceUID(0x0008, 0x0018);
inline constexpr Tag kStudyDate(0x0008, 0x0020);
inline constexpr Tag kSeriesDate(0x0008, 0x0021);
inline constexpr Tag kAcquisitionDate(0x0008, 0x0022);
inline constexpr Tag kContentDate(0x0008, 0x0023);
inline constexpr Tag kAcquisitionDateTime(0x0008, 0x002a);
inline constexpr Tag kStudyTime(0x0008, 0x0030);
inline constexpr Tag kSeriesTime(0x0008, 0x0031);
inline constexpr Tag kAcquisitionTime(0x0008, 0x0032);
inline constexpr Tag kContentTime(0x0008, 0x0033);
inline constexpr Tag kAccessionNumber(0x0008, 0x0050);
inline constexpr Tag kModality(0x0008, 0x0060);
inline constexpr Tag kModalitiesInStudy(0x0008, 0x0061);
inline constexpr Tag kConversionType(0x0008, 0x0064);
inline constexpr Tag kManufacturer(0x0008, 0x0070);
inline constexpr Tag kInstitutionName(0x0008, 0x0080);
inline constexpr Tag kInstitutionAddress(0x0008, 0x0081);
inline constexpr Tag kReferringPhysicianName(0x0008, 0x0090);
inline constexpr Tag kCodeValue(0x0008, 0x0100);
inline constexpr Tag kCodingSchemeDesignator(0x0008, 0x0102);
inline constexpr Tag kCodeMeaning(0x0008, 0x0104);
inline constexpr Tag kStationName(0x0008, 0x1010);
inline constexpr Tag kStudyDescription(0x0008, 0x1030);
inline constexpr Tag kSeriesDescription(0x0008, 0x103e);
inline constexpr Tag kInstitutionalDepartmentName(0x0008, 0x1040);
inline constexpr Tag kPhysiciansOfRecord(0x0008, 0x1048);
inline constexpr Tag kPerformingPhysicianName(0x0008, 0x1050);
inline constexpr Tag kOperatorsName(0x0008, 0x1070);
inline constexpr Tag kManufacturerModelName(0x0008, 0x1090);
inline constexpr Tag kReferencedSOPClassUID(0x0008, 0x1150);
inline constexpr Tag kReferencedSOPInstanceUID(0x0008, 0x1155);
inline constexpr Tag kDerivationDescription(0x0008, 0x2111);
inline constexpr Tag kFrameType(0x0008, 0x9007);
inline constexpr Tag kComplexImageComponent(0x0008, 0x9208);
inline constexpr Tag kAcquisitionContrast(0x0008, 0x9209);
inline constexpr Tag kPatientName(0x0010, 0x0010);
inline constexpr Tag kPatientID(0x0010, 0x0020);
inline constexpr Tag kIssuerOfPatientID(0x0010, 0x0021);
inline constexpr Tag kPatientBirthDate(0x0010, 0x0030);
inline constexpr Tag kPatientSex(0x0010, 0x0040);
inline constexpr Tag kOtherPatientIDs(0x0010, 0x1000);
inline constexpr Tag kPatientAge(0x0010, 0x1010);
inline constexpr Tag kPatientSize(0x0010, 0x1020);
inline constexpr Tag kPatientWeight(0x0010, 0x1030);
inline constexpr Tag kAdditionalPatientHistory(0x0010, 0x21b0);
inline constexpr Tag kPatientComments(0x0010, 0x4000);
inline constexpr Tag kClinicalTrialSponsorName(0x0012, 0x0010);
inline constexpr Tag kClinicalTrialProtocolID(0x0012, 0x0020);
inline constexpr Tag kClinicalTrialProtocolName(0x0012, 0x0021);
inline constexpr Tag kClinicalTrialSiteID(0x0012, 0x0030);
inline constexpr Tag kClinicalTrialSiteName(0x0012, 0x0031);
inline constexpr Tag kClinicalTrialSubjectID(0x0012, 0x0040);
inline constexpr Tag kClinicalTrialSubjectReadingID(0x0012, 0x0042);
inline constexpr Tag kClinicalTrialTimePointID(0x0012, 0x0050);
inline constexpr Tag kClinicalTrialTimePointDescription(0x0012, 0x0051);
inline constexpr Tag kPatientIdentityRemoved(0x0012, 0x0062);
inline constexpr Tag kDeidentificationMethod(0x0012, 0x0063);
inline constexpr Tag kDeidentificationMethodCodeSequence(0x0012, 0x0064);
inline constexpr Tag kContrastBolusAgent(0x0018, 0x0010);
inline constexpr Tag kContrastBolusAgentSequence(0x0018, 0x0012);
inline constexpr Tag kBodyPartExamined(0x0018, 0x0015);
inline constexpr Tag kScanningSequence(0x0018, 0x0020);
inline constexpr Tag kSequenceVariant(0x0018, 0x0021);
inline constexpr Tag kScanOptions(0x0018, 0x0022);
inline constexpr Tag kMRAcquisitionType(0x0018, 0x0023);
inline constexpr Tag kSequenceName(0x0018, 0x0024);
inline constexpr Tag kAngioFlag(0x0018, 0x0025);
inline constexpr Tag kRadiopharmaceutical(0x0018, 0x0031);
inline constexpr Tag kSliceThickness(0x0018, 0x0050);
inline constexpr Tag kKVP(0x0018, 0x0060);
inline constexpr Tag kRepetitionTime(0x0018, 0x0080);
inline constexpr Tag kEchoTime(0x0018, 0x0081);
inline constexpr Tag kInversionTime(0x0018, 0x0082);
inline constexpr Tag kNumberOfAverages(0x0018, 0x0083);
inline constexpr Tag kImagingFrequency(0x0018, 0x0084);
inline constexpr Tag kImagedNucleus(0x0018, 0x0085);
inline constexpr Tag kEchoNumbers(0x0018, 0x0086);
inline constexpr Tag kMagneticFieldStrength(0x0018, 0x0087);
inline constexpr Tag kSpacingBetweenSlices(0x0018, 0x0088);
inline constexpr Tag kNumberOfPhaseEncodingSteps(0x0018, 0x0089);
inline constexpr Tag kDataCollectionDiameter(0x0018, 0x0090);
inline constexpr Tag kEchoTrainLength(0x0018, 0x0091);
inline constexpr Tag kPercentSampling(0x0018, 0x0093);
inline constexpr Tag kPercentPhaseFieldOfView(0x0018, 0x0094);
inline constexpr Tag kPixelBandwidth(0x0018, 0x0095);
inline constexpr Tag kDeviceSerialNumber(0x0018, 0x1000);
inline constexpr Tag kSoftwareVersions(0x0018, 0x1020);
inline constexpr Tag kProtocolName(0x0018, 0x1030);
inline constexpr Tag kContrastBolusVolume(0x0018, 0x1041);
inline constexpr Tag kTriggerTime(0x0018, 0x1060);
inline constexpr Tag kRadiopharmaceuticalRoute(0x0018, 0x1070);
inline constexpr Tag kRadiopharmaceuticalVolume(0x0018, 0x1071);
inline constexpr Tag kRadiopharmaceuticalStartTime(0x0018, 0x1072);
inline constexpr Tag kRadionuclideTotalDose(0x0018, 0x1074);
inline constexpr Tag kRadionuclideHalfLife(0x0018, 0x1075);
inline constexpr Tag kRadiopharmaceuticalStartDateTime(0x0018, 0x1078);
inline constexpr Tag kReconstructionDiameter(0x0018, 0x1100);
inline constexpr Tag kDistanceSourceToDetector(0x0018, 0x1110);
inline constexpr Tag kDistanceSourceToPatient(0x0018, 0x1111);
inline constexpr Tag kGantryDetectorTilt(0x0018, 0x1120);
inline constexpr Tag kTableHeight(0x0018, 0x1130);
inline constexpr Tag kRotationDirection(0x0018, 0x1140);
inline constexpr Tag kExposureTime(0x0018, 0x1150);
inline constexpr Tag kXRayTubeCurrent(0x0018, 0x1151);
inline constexpr Tag kExposure(0x0018, 0x1152);
inline constexpr Tag kFilterType(0x0018, 0x1160);
inline constexpr Tag kGeneratorPower(0x0018, 0x1170);
inline constexpr Tag kFocalSpots(0x0018, 0x1190);
inline constexpr Tag kConvolutionKernel(0x0018, 0x1210);
inline constexpr Tag kActualFrameDuration(0x0018, 0x1242);
inline constexpr Tag kReceiveCoilName(0x0018, 0x1250);
inline constexpr Tag kTransmitCoilName(0x0018, 0x1251);
inline constexpr Tag kAcquisitionMatrix(0x0018, 0x1310);
inline constexpr Tag kInPlanePhaseEncodingDirection(0x0018, 0x1312);
inline constexpr Tag kFlipAngle(0x0018, 0x1314);
inline constexpr Tag kPatientPosition(0x0018, 0x5100);
inline constexpr Tag kPulseSequenceName(0x0018, 0x9005);
inline constexpr Tag kMRImagingModifierSequence(0x0018, 0x9006);
inline constexpr Tag kMRReceiveCoilSequence(0x0018, 0x9042);
inline constexpr Tag kReceiveCoilType(0x0018, 0x9043);
inline constexpr Tag kMRTransmitCoilSequence(0x0018, 0x9049);
inline constexpr Tag kDiffusionDirectionality(0x0018, 0x9075);
inline constexpr Tag kDiffusionGradientDirectionSequence(0x0018, 0x9076);
inline constexpr Tag kInversionTimes(0x0018, 0x9079);
inline constexpr Tag kEffectiveEchoTime(0x0018, 0x9082);
inline constexpr Tag kDiffusionBValue(0x0018, 0x9087);
inline constexpr Tag kDiffusionGradientOrientation(0x0018, 0x9089);
inline constexpr Tag kMRTimingAndRelatedParametersSequence(0x0018, 0x9112);
inline constexpr Tag kMREchoSequence(0x0018, 0x9114);
inline constexpr Tag kMRModifierSequence(0x0018, 0x9115);
inline constexpr Tag kMRDiffusionSequence(0x0018, 0x9117);
inline constexpr Tag kMRAveragesSequence(0x0018, 0x9119);
inline constexpr Tag kMRFOVGeometrySequence(0x0018, 0x9125);
inline constexpr Tag kDiffusionAnisotropyType(0x0018, 0x9147);
inline constexpr Tag kMRImageFrameTypeSequence(0x0018, 0x9226);
inline constexpr Tag kCTAcquisitionTypeSequence(0x0018, 0x9301);
inline constexpr Tag kAcquisitionType(0x0018, 0x9302);
inline constexpr Tag kCTAcquisitionDetailsSequence(0x0018, 0x9304);
inline constexpr Tag kSingleCollimationWidth(0x0018, 0x9306);
inline constexpr Tag kTotalCollimationWidth(0x0018, 0x9307);
inline constexpr Tag kCTTableDynamicsSequence(0x0018, 0x9308);
inline constexpr Tag kTableSpeed(0x0018, 0x9309);
inline constexpr Tag kTableFeedPerRotation(0x0018, 0x9310);
inline constexpr Tag kSpiralPitchFactor(0x0018, 0x9311);
inline constexpr Tag kCTGeometrySequence(0x0018, 0x9312);
inline constexpr Tag kDataCollectionCenterPatient(0x0018, 0x9313);
inline constexpr Tag kCTReconstructionSequence(0x0018, 0x9314);
inline constexpr Tag kCTExposureSequence(0x0018, 0x9321);
inline constexpr Tag kExposureModulationType(0x0018, 0x9323);
inline constexpr Tag kEstimatedDoseSaving(0x0018, 0x9324);
inline constexpr Tag kCTXRayDetailsSequence(0x0018, 0x9325);
inline constexpr Tag kExposureTimeInms(0x0018, 0x9328);
inline constexpr Tag kCTImageFrameTypeSequence(0x0018, 0x9329);
inline constexpr Tag kXRayTubeCurrentInmA(0x0018, 0x9330);
inline constexpr Tag kExposureInmAs(0x0018, 0x9332);
inline constexpr Tag kCTDIvol(0x0018, 0x9345);
inline constexpr Tag kStudyInstanceUID(0x0020, 0x000d);
inline constexpr Tag kSeriesInstanceUID(0x0020, 0x000e);
inline constexpr Tag kStudyID(0x0020, 0x0010);
inline constexpr Tag kSeriesNumber(0x0020, 0x0011);
inline constexpr Tag kAcquisitionNumber(0x0020, 0x0012);
inline constexpr Tag kInstanceNumber(0x0020, 0x0013);
inline constexpr Tag kPatientOrientation(0x0020, 0x0020);
inline constexpr Tag kImagePositionPatient(0x0020, 0x0032);
inline constexpr Tag kImageOrientationPatient(0x0020, 0x0037);
inline constexpr Tag kFrameOfReferenceUID(0x0020, 0x0052);
inline constexpr Tag kLaterality(0x0020, 0x0060);
inline constexpr Tag kTemporalPositionIdentifier(0x0020, 0x0100);
inline constexpr Tag kNumberOfTemporalPositions(0x0020, 0x0105);
inline constexpr Tag kImagesInAcquisition(0x0020, 0x1002);
inline constexpr Tag kSliceLocation(0x0020, 0x1041);
inline constexpr Tag kImageComments(0x0020, 0x4000);
inline constexpr Tag kFrameContentSequence(0x0020, 0x9111);
inline constexpr Tag kPlanePositionSequence(0x0020, 0x9113);
inline constexpr Tag kPlaneOrientationSequence(0x0020, 0x9116);
inline constexpr Tag kDimensionIndexValues(0x0020, 0x9157);
inline constexpr Tag kSamplesPerPixel(0x0028, 0x0002);
inline constexpr Tag kPhotometricInterpretation(0x0028, 0x0004);
inline constexpr Tag kPlanarConfiguration(0x0028, 0x0006);
inline constexpr Tag kNumberOfFrames(0x0028, 0x0008);
inline constexpr Tag kRows(0x0028, 0x0010);
inline constexpr Tag kColumns(0x0028, 0x0011);
inline constexpr Tag kPixelSpacing(0x0028, 0x0030);
inline constexpr Tag kBitsAllocated(0x0028, 0x0100);
inline constexpr Tag kBitsStored(0x0028, 0x0101);
inline constexpr Tag kHighBit(0x0028, 0x0102);
inline constexpr Tag kPixelRepresentation(0x0028, 0x0103);
inline constexpr Tag kSmallestImagePixelValue(0x0028, 0x0106);
inline constexpr Tag kLargestImagePixelValue(0x0028, 0x0107);
inline constexpr Tag kBurnedInAnnotation(0x0028, 0x0301);
inline constexpr Tag kRecognizableVisualFeatures(0x0028, 0x0302);
inline constexpr Tag kLongitudinalTemporalInformationModified(0x0028, 0x0303);
inline constexpr Tag kWindowCenter(0x0028, 0x1050);
inline constexpr Tag kWindowWidth(0x0028, 0x1051);
inline constexpr Tag kRescaleIntercept(0x0028, 0x1052);
inline constexpr Tag kRescaleSlope(0x0028, 0x1053);
inline constexpr Tag kRescaleType(0x0028, 0x1054);
inline constexpr Tag kLossyImageCompression(0x0028, 0x2110);
inline constexpr Tag kPixelMeasuresSequence(0x0028, 0x9110);
inline constexpr Tag kFrameVOILUTSequence(0x0028, 0x9132);
inline constexpr Tag kPixelValueTransformationSequence(0x0028, 0x9145);
inline constexpr Tag kRequestingPhysician(0x0032, 0x1032);
inline constexpr Tag kRequestedProcedureDescription(0x0032, 0x1060);
inline constexpr Tag kStudyComments(0x0032, 0x4000);
inline constexpr Tag kScheduledProcedureStepDescription(0x0040, 0x0007);
inline constexpr Tag kScheduledProcedureStepID(0x0040, 0x0009);
inline constexpr Tag kPerformedStationAETitle(0x0040, 0x0241);
inline constexpr Tag kPerformedProcedureStepStartDate(0x0040, 0x0244);
inline constexpr Tag kPerformedProcedureStepStartTime(0x0040, 0x0245);
inline constexpr Tag kPerformedProcedureStepID(0x0040, 0x0253);
inline constexpr Tag kPerformedProcedureStepDescription(0x0040, 0x0254);
inline constexpr Tag kRequestAttributesSequence(0x0040, 0x0275);
inline constexpr Tag kRequestedProcedureID(0x0040, 0x1001);
inline constexpr Tag kEncapsulatedDocument(0x0042, 0x0011);
inline constexpr Tag kMIMETypeOfEncapsulatedDocument(0x0042, 0x0012);
inline constexpr Tag kRadiopharmaceuticalInformationSequence(0x0054, 0x0016);
inline constexpr Tag kNumberOfSlices(0x0054, 0x0081);
inline constexpr Tag kNumberOfTimeSlices(0x0054, 0x0101);
inline constexpr Tag kRadionuclideCodeSequence(0x0054, 0x0300);
inline constexpr Tag kRadiopharmaceuticalCodeSequence(0x0054, 0x0304);
inline constexpr Tag kSeriesType(0x0054, 0x1000);
inline constexpr Tag kUnits(0x0054, 0x1001);
inline constexpr Tag kCountsSource(0x0054, 0x1002);
inline constexpr Tag kReprojectionMethod(0x0054, 0x1004);
inline constexpr Tag kRandomsCorrectionMethod(0x0054, 0x1100);
inline constexpr Tag kAttenuationCorrectionMethod(0x0054, 0x1101);
inline constexpr Tag kDecayCorrection(0x0054, 0x1102);
inline constexpr Tag kReconstructionMethod(0x0054, 0x1103);
inline constexpr Tag kScatterCorrectionMethod(0x0054, 0x1105);
inline constexpr Tag kAxialAcceptance(0x0054, 0x1200);
inline constexpr Tag kFrameReferenceTime(0x0054, 0x1300);
inline constexpr Tag kDecayFactor(0x0054, 0x1321);
inline constexpr Tag kDoseCalibrationFactor(0x0054, 0x1322);
inline constexpr Tag kScatterFractionFactor(0x0054, 0x1323);
inline constexpr Tag kDeadTimeFactor(0x0054, 0x1324);
inline constexpr Tag kImageIndex(0x0054, 0x1330);
inline constexpr Tag kSharedFunctionalGroupsSequence(0x5200, 0x9229);
inline constexpr Tag kPerFrameFunctionalGroupsSequence(0x5200, 0x9230);
inline constexpr Tag kWaveformSequence(0x5400, 0x0100);
inline constexpr Tag kSpectroscopyData(0x5600, 0x0020);
inline constexpr Tag kFloatPixelData(0x7fe0, 0x0008);
inline constexpr Tag kDoubleFloatPixelData(0x7fe0, 0x0009);
inline constexpr Tag kPixelData(0x7fe0, 0x0010);
inline constexpr Tag kDigitalSignaturesSequence(0xfffa, 0xfffa);
inline constexpr Tag kDataSetTrailingPadding(0xfffc, 0xfffc);
inline constexpr Tag kItem(0xfffe, 0xe000);
inline constexpr Tag kItemDelimitationItem(0xfffe, 0xe00d);
inline constexpr Tag kSequenceDelimitationItem(0xfffe, 0xe0dd);

}  // namespace tags
}  // namespace narthex::dicom
