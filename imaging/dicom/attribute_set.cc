#include "imaging/dicom/attribute_set.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <utility>

namespace narthex::dicom {
namespace {

constexpr Tag kSentinel(std::numeric_limits<uint32_t>::max());

// Identification, routing and what names a session: reference XNAT's identifiers and session attributes.
constexpr TagPath kSessionPaths[] = {
    tags::kSpecificCharacterSet,
    tags::kImageType,
    tags::kRecognitionCode,
    tags::kInstanceCreationDate,
    tags::kInstanceCreationTime,
    tags::kSOPClassUID,
    tags::kSOPInstanceUID,
    tags::kStudyDate,
    tags::kSeriesDate,
    tags::kAcquisitionDate,
    tags::kContentDate,
    tags::kAcquisitionDateTime,
    tags::kStudyTime,
    tags::kSeriesTime,
    tags::kAcquisitionTime,
    tags::kContentTime,
    tags::kAccessionNumber,
    tags::kModality,
    tags::kModalitiesInStudy,
    tags::kConversionType,
    tags::kManufacturer,
    tags::kInstitutionName,
    tags::kReferringPhysicianName,
    tags::kStationName,
    tags::kStudyDescription,
    tags::kSeriesDescription,
    tags::kInstitutionalDepartmentName,
    tags::kPhysiciansOfRecord,
    tags::kPerformingPhysicianName,
    tags::kOperatorsName,
    tags::kManufacturerModelName,
    tags::kDerivationDescription,
    tags::kFrameType,
    tags::kComplexImageComponent,
    tags::kAcquisitionContrast,
    tags::kPatientName,
    tags::kPatientID,
    tags::kIssuerOfPatientID,
    tags::kPatientBirthDate,
    tags::kPatientSex,
    tags::kOtherPatientIDs,
    tags::kPatientAge,
    tags::kPatientSize,
    tags::kPatientWeight,
    tags::kAdditionalPatientHistory,
    tags::kPatientComments,
    tags::kClinicalTrialSponsorName,
    tags::kClinicalTrialProtocolID,
    tags::kClinicalTrialProtocolName,
    tags::kClinicalTrialSiteID,
    tags::kClinicalTrialSiteName,
    tags::kClinicalTrialSubjectID,
    tags::kClinicalTrialSubjectReadingID,
    tags::kClinicalTrialTimePointID,
    tags::kClinicalTrialTimePointDescription,
    tags::kPatientIdentityRemoved,
    tags::kDeidentificationMethod,
    tags::kBodyPartExamined,
    tags::kDeviceSerialNumber,
    tags::kSoftwareVersions,
    tags::kProtocolName,
    tags::kPatientPosition,
    tags::kStudyInstanceUID,
    tags::kSeriesInstanceUID,
    tags::kStudyID,
    tags::kSeriesNumber,
    tags::kAcquisitionNumber,
    tags::kInstanceNumber,
    tags::kFrameOfReferenceUID,
    tags::kLaterality,
    tags::kTemporalPositionIdentifier,
    tags::kNumberOfTemporalPositions,
    tags::kImagesInAcquisition,
    tags::kSliceLocation,
    tags::kImageComments,
    tags::kRequestedProcedureDescription,
    tags::kStudyComments,
    tags::kRequestingPhysician,
    tags::kPerformedProcedureStepDescription,
    tags::kPerformedProcedureStepID,
    tags::kMIMETypeOfEncapsulatedDocument,
    TagPath(tags::kRequestAttributesSequence, tags::kRequestedProcedureDescription),
    TagPath(tags::kRequestAttributesSequence, tags::kScheduledProcedureStepDescription),
};

// Pixels: scans, duplicates, snapshots.
constexpr TagPath kImagePaths[] = {
    tags::kNumberOfFrames,
    tags::kSamplesPerPixel,
    tags::kPhotometricInterpretation,
    tags::kPlanarConfiguration,
    tags::kRows,
    tags::kColumns,
    tags::kPixelSpacing,
    tags::kBitsAllocated,
    tags::kBitsStored,
    tags::kHighBit,
    tags::kPixelRepresentation,
    tags::kBurnedInAnnotation,
    tags::kRecognizableVisualFeatures,
    tags::kWindowCenter,
    tags::kWindowWidth,
    tags::kRescaleIntercept,
    tags::kRescaleSlope,
    tags::kRescaleType,
    tags::kLossyImageCompression,
    tags::kImagePositionPatient,
    tags::kImageOrientationPatient,
    tags::kSliceThickness,
    tags::kSpacingBetweenSlices,
    tags::kContrastBolusAgent,
    tags::kContrastBolusVolume,
    TagPath(tags::kContrastBolusAgentSequence, tags::kCodeMeaning),
};

constexpr TagPath kMrPaths[] = {
    tags::kScanningSequence,
    tags::kSequenceVariant,
    tags::kScanOptions,
    tags::kMRAcquisitionType,
    tags::kSequenceName,
    tags::kAngioFlag,
    tags::kRepetitionTime,
    tags::kEchoTime,
    tags::kInversionTime,
    tags::kNumberOfAverages,
    tags::kImagingFrequency,
    tags::kImagedNucleus,
    tags::kEchoNumbers,
    tags::kMagneticFieldStrength,
    tags::kNumberOfPhaseEncodingSteps,
    tags::kEchoTrainLength,
    tags::kPercentSampling,
    tags::kPercentPhaseFieldOfView,
    tags::kPixelBandwidth,
    tags::kTriggerTime,
    tags::kReceiveCoilName,
    tags::kTransmitCoilName,
    tags::kAcquisitionMatrix,
    tags::kInPlanePhaseEncodingDirection,
    tags::kFlipAngle,
    tags::kPulseSequenceName,
    tags::kDiffusionBValue,
    tags::kDiffusionGradientOrientation,
};

constexpr TagPath kCtAndPetPaths[] = {
    tags::kKVP,
    tags::kDataCollectionDiameter,
    tags::kReconstructionDiameter,
    tags::kDistanceSourceToDetector,
    tags::kDistanceSourceToPatient,
    tags::kGantryDetectorTilt,
    tags::kTableHeight,
    tags::kRotationDirection,
    tags::kExposureTime,
    tags::kXRayTubeCurrent,
    tags::kExposure,
    tags::kFilterType,
    tags::kGeneratorPower,
    tags::kFocalSpots,
    tags::kConvolutionKernel,
    tags::kSingleCollimationWidth,
    tags::kTotalCollimationWidth,
    tags::kTableSpeed,
    tags::kTableFeedPerRotation,
    tags::kSpiralPitchFactor,
    tags::kExposureModulationType,
    tags::kEstimatedDoseSaving,
    tags::kCTDIvol,
    tags::kAcquisitionType,
    TagPath(tags::kCTExposureSequence, tags::kExposureTimeInms),
    TagPath(tags::kCTExposureSequence, tags::kXRayTubeCurrentInmA),
    TagPath(tags::kCTExposureSequence, tags::kExposureInmAs),
    tags::kRadiopharmaceutical,
    tags::kNumberOfSlices,
    tags::kNumberOfTimeSlices,
    tags::kSeriesType,
    tags::kUnits,
    tags::kCountsSource,
    tags::kRandomsCorrectionMethod,
    tags::kAttenuationCorrectionMethod,
    tags::kDecayCorrection,
    tags::kReconstructionMethod,
    tags::kScatterCorrectionMethod,
    tags::kImageIndex,
    tags::kFrameReferenceTime,
    tags::kActualFrameDuration,
    TagPath(tags::kRadiopharmaceuticalInformationSequence, tags::kRadiopharmaceutical),
    TagPath(tags::kRadiopharmaceuticalInformationSequence, tags::kRadiopharmaceuticalStartTime),
    TagPath(tags::kRadiopharmaceuticalInformationSequence, tags::kRadiopharmaceuticalStartDateTime),
    TagPath(tags::kRadiopharmaceuticalInformationSequence, tags::kRadionuclideTotalDose),
    TagPath(tags::kRadiopharmaceuticalInformationSequence, tags::kRadionuclideHalfLife),
    TagPath(tags::kRadiopharmaceuticalInformationSequence, tags::kRadionuclideCodeSequence, tags::kCodeValue),
    TagPath(tags::kRadiopharmaceuticalInformationSequence, tags::kRadionuclideCodeSequence,
            tags::kCodeMeaning),
    TagPath(tags::kRadiopharmaceuticalInformationSequence, tags::kRadiopharmaceuticalCodeSequence,
            tags::kCodeMeaning),
};

// Below SharedFunctionalGroupsSequence and PerFrameFunctionalGroupsSequence of enhanced objects.
constexpr TagPath kFunctionalGroupPaths[] = {
    TagPath(tags::kPixelMeasuresSequence, tags::kPixelSpacing),
    TagPath(tags::kPixelMeasuresSequence, tags::kSliceThickness),
    TagPath(tags::kPixelMeasuresSequence, tags::kSpacingBetweenSlices),
    TagPath(tags::kPlaneOrientationSequence, tags::kImageOrientationPatient),
    TagPath(tags::kPlanePositionSequence, tags::kImagePositionPatient),
    TagPath(tags::kPixelValueTransformationSequence, tags::kRescaleIntercept),
    TagPath(tags::kPixelValueTransformationSequence, tags::kRescaleSlope),
    TagPath(tags::kFrameVOILUTSequence, tags::kWindowCenter),
    TagPath(tags::kFrameVOILUTSequence, tags::kWindowWidth),
    TagPath(tags::kMRImageFrameTypeSequence, tags::kFrameType),
    TagPath(tags::kMRTimingAndRelatedParametersSequence, tags::kRepetitionTime),
    TagPath(tags::kMRTimingAndRelatedParametersSequence, tags::kFlipAngle),
    TagPath(tags::kMRTimingAndRelatedParametersSequence, tags::kEchoTrainLength),
    TagPath(tags::kMREchoSequence, tags::kEffectiveEchoTime),
    TagPath(tags::kMRModifierSequence, tags::kInversionTimes),
    TagPath(tags::kMRImagingModifierSequence, tags::kPixelBandwidth),
    TagPath(tags::kMRReceiveCoilSequence, tags::kReceiveCoilName),
    TagPath(tags::kMRDiffusionSequence, tags::kDiffusionBValue),
    TagPath(tags::kMRDiffusionSequence, tags::kDiffusionDirectionality),
    TagPath(tags::kMRDiffusionSequence, tags::kDiffusionAnisotropyType),
    TagPath(tags::kMRDiffusionSequence, tags::kDiffusionGradientDirectionSequence,
            tags::kDiffusionGradientOrientation),
    TagPath(tags::kCTImageFrameTypeSequence, tags::kFrameType),
    TagPath(tags::kCTAcquisitionTypeSequence, tags::kAcquisitionType),
    TagPath(tags::kCTAcquisitionDetailsSequence, tags::kRotationDirection),
    TagPath(tags::kCTAcquisitionDetailsSequence, tags::kGantryDetectorTilt),
    TagPath(tags::kCTAcquisitionDetailsSequence, tags::kTableHeight),
    TagPath(tags::kCTAcquisitionDetailsSequence, tags::kDataCollectionDiameter),
    TagPath(tags::kCTAcquisitionDetailsSequence, tags::kSingleCollimationWidth),
    TagPath(tags::kCTAcquisitionDetailsSequence, tags::kTotalCollimationWidth),
    TagPath(tags::kCTTableDynamicsSequence, tags::kTableSpeed),
    TagPath(tags::kCTTableDynamicsSequence, tags::kTableFeedPerRotation),
    TagPath(tags::kCTTableDynamicsSequence, tags::kSpiralPitchFactor),
    TagPath(tags::kCTGeometrySequence, tags::kDistanceSourceToDetector),
    TagPath(tags::kCTReconstructionSequence, tags::kConvolutionKernel),
    TagPath(tags::kCTReconstructionSequence, tags::kReconstructionDiameter),
    TagPath(tags::kCTExposureSequence, tags::kExposureTimeInms),
    TagPath(tags::kCTExposureSequence, tags::kXRayTubeCurrentInmA),
    TagPath(tags::kCTExposureSequence, tags::kExposureInmAs),
    TagPath(tags::kCTExposureSequence, tags::kExposureModulationType),
    TagPath(tags::kCTExposureSequence, tags::kEstimatedDoseSaving),
    TagPath(tags::kCTExposureSequence, tags::kCTDIvol),
    TagPath(tags::kCTXRayDetailsSequence, tags::kKVP),
    TagPath(tags::kCTXRayDetailsSequence, tags::kFocalSpots),
    TagPath(tags::kCTXRayDetailsSequence, tags::kFilterType),
};

std::vector<TagPath> DefaultPaths() {
  std::vector<TagPath> paths;
  paths.insert(paths.end(), std::begin(kSessionPaths), std::end(kSessionPaths));
  paths.insert(paths.end(), std::begin(kImagePaths), std::end(kImagePaths));
  paths.insert(paths.end(), std::begin(kMrPaths), std::end(kMrPaths));
  paths.insert(paths.end(), std::begin(kCtAndPetPaths), std::end(kCtAndPetPaths));
  for (const TagPath& path : kFunctionalGroupPaths) {
    paths.push_back(path.Within(tags::kSharedFunctionalGroupsSequence));
    paths.push_back(path.Within(tags::kPerFrameFunctionalGroupsSequence));
  }
  return paths;
}

bool Before(const TagPath& a, const TagPath& b) {
  return std::lexicographical_compare(a.tags().begin(), a.tags().end(), b.tags().begin(), b.tags().end());
}

// A level of the trie still to be laid out: the sorted paths [begin, end) share their first `depth` tags.
struct Level {
  size_t parent;
  size_t begin, end, depth;
};

}  // namespace

AttributeSet::AttributeSet(absl::Span<const TagPath> paths) : paths_(paths.begin(), paths.end()) {
  std::sort(paths_.begin(), paths_.end(), Before);
  paths_.erase(std::unique(paths_.begin(), paths_.end()), paths_.end());

  constexpr size_t kNoParent = std::numeric_limits<size_t>::max();
  std::deque<Level> levels = {{kNoParent, 0, paths_.size(), 0}};
  while (!levels.empty()) {
    const Level level = levels.front();
    levels.pop_front();
    const size_t first_node = nodes_.size();
    for (size_t i = level.begin; i < level.end;) {
      const Tag tag = paths_[i].tags()[level.depth];
      size_t end = i;
      while (end < level.end && paths_[end].tags()[level.depth] == tag) ++end;
      Node node{tag, DictionaryVr(tag)};
      node.wanted = paths_[i].depth() == level.depth + 1;  // the shortest sorts first
      const size_t below = i + (node.wanted ? 1 : 0);
      if (below < end) levels.push_back({nodes_.size(), below, end, level.depth + 1});
      nodes_.push_back(node);
      i = end;
    }
    if (level.parent == kNoParent) {
      top_level_count_ = nodes_.size();
    } else {
      nodes_[level.parent].children_begin = static_cast<uint32_t>(first_node);
      nodes_[level.parent].children_end = static_cast<uint32_t>(nodes_.size());
    }
    nodes_.push_back(Node{kSentinel});
  }
}

const AttributeSet& AttributeSet::Default() {
  static const auto* const kDefault = new AttributeSet(DefaultPaths());
  return *kDefault;
}

AttributeSet AttributeSet::With(absl::Span<const TagPath> more) const {
  std::vector<TagPath> paths = paths_;
  paths.insert(paths.end(), more.begin(), more.end());
  return AttributeSet(paths);
}

bool AttributeSet::Contains(const TagPath& path) const {
  return std::binary_search(paths_.begin(), paths_.end(), path, Before);
}

}  // namespace narthex::dicom
