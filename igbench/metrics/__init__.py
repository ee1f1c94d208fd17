"""Metrics of attributions: classes, and the same metrics as plain functions.

`SymmetricRelevanceGain(step=1)(model, x, phi)` and `srg(model, x, phi, step=1)` are the same call.
`help(igbench.metrics.srg)` shows definition, range, cost, source, parameters and an example.

Families: faithfulness (`igbench.metrics.faithfulness`), robustness, localisation, complexity
(`igbench.metrics.sparsity`), randomisation, axiomatic, and agreement between methods.
"""

from igbench.metrics.agreement import Difference
from igbench.metrics.arrays import score_arrays
from igbench.metrics.axiomatic.completeness import Completeness
from igbench.metrics.axiomatic.convergence import ConvergenceError
from igbench.metrics.axiomatic.dummy import Dummy
from igbench.metrics.axiomatic.invariance import ImplementationInvariance, InputInvariance
from igbench.metrics.axiomatic.linearity import Linearity
from igbench.metrics.base import BaseMetric
from igbench.metrics.coefficients import PairwiseRankAgreement, RankCorrelation
from igbench.metrics.faithfulness.areas import Deletion, Insertion, SymmetricRelevanceGain
from igbench.metrics.faithfulness.correlation import FaithfulnessCorrelation, FaithfulnessEstimate
from igbench.metrics.faithfulness.erasure import Comprehensiveness, Sufficiency
from igbench.metrics.faithfulness.infidelity import Infidelity
from igbench.metrics.faithfulness.information import Aic, Sic
from igbench.metrics.faithfulness.means import Aopc, PixelFlipping
from igbench.metrics.faithfulness.monotonicity import MonotonicityCorrelation
from igbench.metrics.faithfulness.prediction_gap import (
    PredictionGapImportant,
    PredictionGapUnimportant,
)
from igbench.metrics.faithfulness.road import Road
from igbench.metrics.faithfulness.sensitivity_n import SensitivityN
from igbench.metrics.faithfulness.soft import (
    SoftComprehensiveness,
    SoftSufficiency,
)
from igbench.metrics.faithfulness.subsets import (
    DifferenceFromExact,
    NormalisedAopc,
)
from igbench.metrics.faithfulness.words import (
    LogOdds,
    TauLoo,
)
from igbench.metrics.functions import as_function
from igbench.metrics.lexicon import (
    LexiconAgreement,
)
from igbench.metrics.localisation import (
    LocalisationAuc,
    PointingGame,
    RelevanceMass,
    RelevanceRank,
)
from igbench.metrics.plausibility import (
    Auprc,
    AveragePrecision,
    IouF1,
    TokenF1,
)
from igbench.metrics.quantus import Quantus
from igbench.metrics.randomisation.logit import RandomLogit
from igbench.metrics.randomisation.mprt import EfficientMprt, Mprt, SmoothMprt
from igbench.metrics.robustness.baselines import BaselineSensitivity
from igbench.metrics.robustness.budget import MaxSensitivityN
from igbench.metrics.robustness.relative import (
    RelativeInputStability,
    RelativeOutputStability,
    RelativeRepresentationStability,
)
from igbench.metrics.robustness.seeds import SeedVariance
from igbench.metrics.robustness.sensitivity import AvgSensitivity, LocalLipschitz, MaxSensitivity
from igbench.metrics.sparsity import Complexity, EffectiveComplexity, Sparseness
from igbench.metrics.top_features import (
    FeatureAgreement,
    RankAgreement,
    SignAgreement,
    SignedRankAgreement,
)

abpc = as_function(Aopc, "abpc", order="difference")
aic = as_function(Aic)
aopc = as_function(Aopc)
auprc = as_function(Auprc)
average_precision = as_function(AveragePrecision)
avg_sensitivity = as_function(AvgSensitivity)
baseline_sensitivity = as_function(BaselineSensitivity)
completeness = as_function(Completeness)
complexity = as_function(Complexity)
comprehensiveness = as_function(Comprehensiveness)
convergence_error = as_function(ConvergenceError)
deletion = as_function(Deletion)
difference = as_function(Difference)
difference_from_exact = as_function(DifferenceFromExact)
dummy = as_function(Dummy)
effective_complexity = as_function(EffectiveComplexity)
efficient_mprt = as_function(EfficientMprt)
faithfulness_correlation = as_function(FaithfulnessCorrelation)
faithfulness_estimate = as_function(FaithfulnessEstimate)
feature_agreement = as_function(FeatureAgreement)
implementation_invariance = as_function(ImplementationInvariance)
infidelity = as_function(Infidelity)
input_invariance = as_function(InputInvariance)
insertion = as_function(Insertion)
iou_f1 = as_function(IouF1)
lexicon_agreement = as_function(LexiconAgreement)
linearity = as_function(Linearity)
local_lipschitz = as_function(LocalLipschitz)
localisation_auc = as_function(LocalisationAuc)
log_odds = as_function(LogOdds)
max_sensitivity = as_function(MaxSensitivity)
max_sensitivity_n = as_function(MaxSensitivityN)
monotonicity_correlation = as_function(MonotonicityCorrelation)
mprt = as_function(Mprt)
naopc = as_function(NormalisedAopc)
pairwise_rank_agreement = as_function(PairwiseRankAgreement)
pgi = as_function(PredictionGapImportant)
pgu = as_function(PredictionGapUnimportant)
pixel_flipping = as_function(PixelFlipping)
pointing_game = as_function(PointingGame)
random_logit = as_function(RandomLogit)
rank_agreement = as_function(RankAgreement)
rank_correlation = as_function(RankCorrelation)
relevance_mass = as_function(RelevanceMass)
relevance_rank = as_function(RelevanceRank)
ris = as_function(RelativeInputStability)
road = as_function(Road)
ros = as_function(RelativeOutputStability)
rrs = as_function(RelativeRepresentationStability)
seed_variance = as_function(SeedVariance)
sensitivity_n = as_function(SensitivityN)
sic = as_function(Sic)
sign_agreement = as_function(SignAgreement)
signed_rank_agreement = as_function(SignedRankAgreement)
smooth_mprt = as_function(SmoothMprt)
soft_comprehensiveness = as_function(SoftComprehensiveness)
soft_sufficiency = as_function(SoftSufficiency)
sparseness = as_function(Sparseness)
srg = as_function(SymmetricRelevanceGain)
sufficiency = as_function(Sufficiency)
tau_loo = as_function(TauLoo)
token_f1 = as_function(TokenF1)

__all__ = [
    "Aic",
    "Aopc",
    "Auprc",
    "AveragePrecision",
    "AvgSensitivity",
    "BaseMetric",
    "BaselineSensitivity",
    "Completeness",
    "Complexity",
    "Comprehensiveness",
    "ConvergenceError",
    "Deletion",
    "Difference",
    "DifferenceFromExact",
    "Dummy",
    "EffectiveComplexity",
    "EfficientMprt",
    "FaithfulnessCorrelation",
    "FaithfulnessEstimate",
    "FeatureAgreement",
    "ImplementationInvariance",
    "Infidelity",
    "InputInvariance",
    "Insertion",
    "IouF1",
    "LexiconAgreement",
    "Linearity",
    "LocalLipschitz",
    "LocalisationAuc",
    "LogOdds",
    "MaxSensitivity",
    "MaxSensitivityN",
    "MonotonicityCorrelation",
    "Mprt",
    "NormalisedAopc",
    "PairwiseRankAgreement",
    "PixelFlipping",
    "PointingGame",
    "PredictionGapImportant",
    "PredictionGapUnimportant",
    "Quantus",
    "RandomLogit",
    "RankAgreement",
    "RankCorrelation",
    "RelativeInputStability",
    "RelativeOutputStability",
    "RelativeRepresentationStability",
    "RelevanceMass",
    "RelevanceRank",
    "Road",
    "SeedVariance",
    "SensitivityN",
    "Sic",
    "SignAgreement",
    "SignedRankAgreement",
    "SmoothMprt",
    "SoftComprehensiveness",
    "SoftSufficiency",
    "Sparseness",
    "Sufficiency",
    "SymmetricRelevanceGain",
    "TauLoo",
    "TokenF1",
    "abpc",
    "aic",
    "aopc",
    "as_function",
    "auprc",
    "average_precision",
    "avg_sensitivity",
    "baseline_sensitivity",
    "completeness",
    "complexity",
    "comprehensiveness",
    "convergence_error",
    "deletion",
    "difference",
    "difference_from_exact",
    "dummy",
    "effective_complexity",
    "efficient_mprt",
    "faithfulness_correlation",
    "faithfulness_estimate",
    "feature_agreement",
    "implementation_invariance",
    "infidelity",
    "input_invariance",
    "insertion",
    "iou_f1",
    "lexicon_agreement",
    "linearity",
    "local_lipschitz",
    "localisation_auc",
    "log_odds",
    "max_sensitivity",
    "max_sensitivity_n",
    "monotonicity_correlation",
    "mprt",
    "naopc",
    "pairwise_rank_agreement",
    "pgi",
    "pgu",
    "pixel_flipping",
    "pointing_game",
    "random_logit",
    "rank_agreement",
    "rank_correlation",
    "relevance_mass",
    "relevance_rank",
    "ris",
    "road",
    "ros",
    "rrs",
    "score_arrays",
    "seed_variance",
    "sensitivity_n",
    "sic",
    "sign_agreement",
    "signed_rank_agreement",
    "smooth_mprt",
    "soft_comprehensiveness",
    "soft_sufficiency",
    "sparseness",
    "srg",
    "sufficiency",
    "tau_loo",
    "token_f1",
]
